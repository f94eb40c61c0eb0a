"""The one family of errors that edgeopt raises on purpose.

Each error says what went wrong (`message`) and what to do about it (`hint`); the command line prints
both, exits with `exit_code` and puts `kind` into the JSON answer. A traceback is shown only with `--debug`.
"""

from __future__ import annotations


class EdgeoptError(Exception):
    """Root of all deliberate errors: a failure of the host (disk full, permission)."""

    exit_code = 1
    kind = "host"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EdgeoptError):
    """Wrong usage: an unknown device, sampler or metric, a missing file, a contradiction in the flags."""

    exit_code = 2
    kind = "usage"


class ModelError(EdgeoptError):
    """The model is refused: unreadable, malformed, too large, or it needs what the board does not have."""

    exit_code = 3
    kind = "model"


class RewriteError(ModelError):
    """A rewrite changed what the model computes, or produced a graph that the checker refuses."""

    kind = "rewrite"


class DataError(EdgeoptError):
    """The data is refused: wrong name, shape, type, NaN, no samples; or the metric raised."""

    exit_code = 3
    kind = "data"


class BoardError(EdgeoptError):
    """The board cannot serve. Never the candidate's fault: it pauses a study and never scores a trial."""

    exit_code = 4
    kind = "board"


class ConnectError(BoardError):
    """The board is unreachable, or its host key is unknown or has changed."""

    kind = "connect"


class RunnerGone(ConnectError):
    """The on-board runner ended while its answer was awaited; the board itself may still be there."""


class HostKeyError(ConnectError):
    """Whoever answers is not known to be the board. Trying again changes nothing; the user must decide."""


class LoginError(ConnectError):
    """The board lets none of the user's keys in. Trying again changes nothing."""


class RuntimeMissing(ConnectError):
    """The board answers, but cannot run what measures there. Trying again changes nothing."""


class BusyError(ConnectError):
    """Somebody else has the board, and has not given it back in the time that one would wait."""

    kind = "busy"


class LeaseLost(BoardError):
    """The board was taken away while it was being used: what it said since is worth nothing."""

    kind = "lease"


class CommandError(BoardError):
    """A command or request on the board failed for a reason that is not the candidate's."""

    kind = "command"


class MeasurementInvalid(BoardError):
    """The board answered, but its answer cannot be trusted (drift, throttling, other load)."""

    kind = "measurement"


class EvidenceError(EdgeoptError):
    """A result may not be packaged: it was not measured, or its accuracy is not established."""

    exit_code = 3
    kind = "evidence"


class CandidateFailed(EdgeoptError):
    """This candidate cannot be built or run (crash, out of memory, deadline); the study goes on."""

    kind = "candidate"


class CandidateCrashed(CandidateFailed):
    """Its process died on the board."""

    kind = "crash"


class CandidateHung(CandidateFailed):
    """It passed its deadline and was killed."""

    kind = "hang"


class CandidateStarved(CandidateFailed):
    """It took more memory than the board has."""

    kind = "memory"


class CandidateRebooted(CandidateFailed):
    """The board rebooted while it ran, twice, the second time with nothing else beside it."""

    kind = "reboot"


class CandidateKilledRunner(CandidateFailed):
    """The on-board runner was killed while it ran, twice, the second time with nothing else beside it."""

    kind = "runner"


class CandidateUnsteady(CandidateFailed):
    """It ran, but its times broke the protocol's rules in every try while the control's did not."""

    kind = "unsteady"


class StudyError(EdgeoptError):
    """A study on disk cannot be continued: it belongs to another model, data set, board or runtime."""

    exit_code = 2
    kind = "study"


class PackageError(EdgeoptError):
    """A package is malformed, or is not what it claims to be."""

    exit_code = 6
    kind = "package"


class SignatureError(PackageError):
    """A signature is missing, wrong, expired or from a key that is not trusted."""

    kind = "signature"
