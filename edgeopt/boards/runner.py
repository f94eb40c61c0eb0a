"""A physical board: the `Board` that measures through the on-board runner, over any transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards import answers, room
from edgeopt.boards import feeds as feeds_files
from edgeopt.boards.board import Feeds, shapes_of
from edgeopt.boards.connected import REQUEST_DEADLINE_S, ConnectedBoard
from edgeopt.boards.dialogue import GRACE_S
from edgeopt.boards.lease import Claim
from edgeopt.boards.metering.link import METERING_S, Beside, Link, beside
from edgeopt.boards.meters import EnergySource
from edgeopt.boards.requests import job, windows
from edgeopt.boards.suspects import run_key, uncontrolled
from edgeopt.boards.transports import Transport
from edgeopt.boards.validity import Speed, Thresholds, of_board
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import (
    CandidateFailed,
    CandidateUnsteady,
    CommandError,
    ConnectError,
    MeasurementInvalid,
    RunnerGone,
)
from edgeopt.core.interface import Interface
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Provenance
from edgeopt.core.scratch import scratch
from edgeopt.runtimes import litert
from edgeopt.runtimes.feeding import fed

MOST_SOAK_S = 1000.0
"""What the runner may take to warm a board up, and a little more."""
COOLING_POLL_S = 2.0
COOL_ENOUGH_C = 5.0
"""A hot board is measured again once it is so much below its limit."""


class RunnerBoard(ConnectedBoard):
    """A board that measures through its runner; see `Board` and `ConnectedBoard`.

    What ran while the board rebooted, or while its runner was killed, is tried once more alone; if that
    happens again it is at fault.
    """

    provenance: Provenance = "measured"
    pairwise_error: float = 0.0

    def __init__(
        self,
        name: str,
        device: str,
        open_transport: Callable[[], Transport],
        ceiling_ms: Callable[[Artifact, Mapping[str, tuple[int, ...]]], float | None] = lambda _, __: None,
        observer: Observer | None = None,
        thresholds: Thresholds = Thresholds(),  # noqa: B008 - frozen
        power: Link | None = None,
        claim: Claim | None = None,
        model: str | None = None,
    ) -> None:
        """`ceiling_ms`: how long an artifact's arithmetic takes at the board's peak, given the shapes of its
        inputs; None if unknown. `observer` is told of uploads that take long, and of pauses. `thresholds`:
        what makes a measurement invalid. `power`: how its energy is known; None: not at all.
        `claim`: who asks for the board, and how long it waits for it. `model`: what it is, where it does not
        tell."""
        self.device, self._power, self._ceiling_ms = device, power, ceiling_ms
        super().__init__(name, open_transport, observer or Observer(), thresholds, claim, model)

    def measure(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """See `Board.measure`: again, after a pause, until the protocol's rules hold.

        What cannot fit the board's memory is refused without being uploaded.

        Raises:
            MeasurementInvalid: They did not hold for the board or for the control in any try.
        """
        refused = [room.refusal(artifact, self.facts) for artifact in artifacts]
        if any(refused):
            fitting = [a for a, why in zip(artifacts, refused, strict=True) if why is None]
            measured = iter(self.measure(fitting, feeds, protocol) if fitting else ())
            merged = [why or next(measured) for why in refused]
            # Without its control, nobody is related to another one instead.
            return [uncontrolled(result) for result in merged] if refused[0] else merged
        for artifact in artifacts:
            self._require(artifact.runtime)
        while True:
            with self._reachable():
                pass  # only now it is known whether it has rebooted
            try:
                return self._suspects.measured(
                    artifacts, lambda some: self._valid(some, feeds, protocol), self.name
                )
            except RunnerGone as gone:
                self._require_killed(gone)

    def _require_killed(self, gone: RunnerGone) -> None:
        """Raise `gone`, unless the board is there at once and the runner was killed on it, or it has booted
        anew already: whoever ran is suspect now, and there is no need to wait for anything."""
        if self._closed.is_set():
            raise gone
        try:
            with self._reachable():
                pass
        except ConnectError:
            raise gone from None
        if not (suspicion := self._suspects.suspicion):
            raise gone
        self._observer.announce(f"{self.name}: {suspicion.happened}; what ran then is tried alone")

    def _valid(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """Measure until the rules hold, with pauses."""
        limits, why = self._thresholds.under(protocol.setting.name), ""
        for attempt in range(1, limits.tries + 1):
            answer, energy = self._measured(artifacts, feeds, protocol)
            results = answers.measurements(answer, protocol, self.facts.cores, limits, self._speed)
            reasons = of_board(answer["rounds"], self._speed, limits)
            self._speed = Speed.calibrated(answer["rounds"][0], self._thresholds, self._speed)
            wrong = [one for one in results if isinstance(one, Measurement) and one.validity]
            if not reasons and not wrong:
                break
            why = "; ".join(reasons) or wrong[0].validity or ""
            if attempt < limits.tries:
                self._cool_down(f"{why}; try {attempt + 1} of {limits.tries}", answer["rounds"][-1])
        else:
            if reasons or wrong[0] is results[0]:
                raise MeasurementInvalid(
                    f"{self.name} cannot be measured: {why}, in {limits.tries} tries",
                    hint="let the board cool and stop what else runs on it; the same command resumes",
                )
        results = energy.added(results, answer)
        # The control was steady in the same seconds: it is the candidate itself that is not.
        return [
            CandidateUnsteady(f"cannot be measured: {result.validity}, in {limits.tries} tries")
            if isinstance(result, Measurement) and result.validity
            else self._with_roofline(result, artifact, feeds)
            for result, artifact in zip(results, artifacts, strict=True)
        ]

    def _measured(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> tuple[dict[str, Any], Beside]:
        """The runner's answer to one `measure`, and what a meter saw beside it; what the board lacks is
        uploaded when it says so."""
        running = [run_key(artifact) for artifact in artifacts[1:] or artifacts]
        with (
            self._suspects.running(running),
            self._reachable() as dialogue,
            scratch() as folder,
            beside(self._power, protocol) as energy,
        ):
            files = {artifact.sha256: artifact.path for artifact in artifacts}
            jobs: list[dict[str, object]] = []
            stored: dict[Interface, tuple[str, list[str]]] = {}
            for artifact in artifacts:
                if artifact.interface not in stored:
                    path = folder / f"feeds-{len(stored)}.npz"
                    names = feeds_files.write(path, [fed(artifact.interface, feeds)])
                    stored[artifact.interface] = file_digest(path), names
                    files[file_digest(path)] = path
                jobs.append(job(artifact, *stored[artifact.interface]))
            setting = protocol.setting
            paced_s = 1.5 * protocol.min_runs / setting.rate_hz if setting.rate_hz else 0.0
            deadline_s = protocol.deadline_s + paced_s
            soak_s = MOST_SOAK_S if setting.name == "sustained" else 0.0
            for _ in range(2):
                answer: dict[str, Any] = dialogue.ask(
                    "measure",
                    deadline_s,
                    patience_s=deadline_s * protocol.processes * len(artifacts)
                    + soak_s
                    + GRACE_S
                    + METERING_S,
                    is_heard=True,
                    token=self._token,
                    jobs=jobs,
                    protocol=windows(protocol),
                    max_temperature_c=self._thresholds.under(setting.name).max_temperature_c,
                    **energy.fields,
                )
                if "missing" not in answer:
                    energy.answered(answer)
                    return answer, energy
                self._put_missing(files, answer["missing"])
        raise CommandError(f"{self.name} loses the files that are stored on it", hint="check its storage")

    def _cool_down(self, why: str, state: Mapping[str, Any]) -> None:
        """Wait until the board is cool again, or for as long as its profile says."""
        pause_s, limit = self._thresholds.cooldown_s, self._thresholds.max_temperature_c
        hot = limit is not None and state["temperature_c"] is not None and state["temperature_c"] > limit
        self._observer.announce(f"{self.name}: {why}, after a pause of up to {pause_s:g} s")
        end = time.monotonic() + pause_s
        while (left_s := end - time.monotonic()) > 0:
            if self._closed.wait(min(left_s, COOLING_POLL_S) if hot else left_s):
                raise ConnectError(f"{self.name} is closed")
            if hot and limit is not None:
                with self._reachable() as dialogue:
                    state = dialogue.ask("conditions", REQUEST_DEADLINE_S)
                now_c = state["temperature_c"]
                if now_c is not None and now_c <= limit - COOL_ENOUGH_C:
                    return

    @property
    def energy_source(self) -> EnergySource | None:
        """See `Board.energy_source`."""
        return self._power.source if self._power else None

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        """See `Board.compare_with`: it makes no difference here."""

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        """See `Board.profile`.

        Raises:
            CandidateFailed: The artifact cannot be run.
        """
        self._require(artifact.runtime)
        self._require_room(artifact)
        if artifact.runtime == litert.NAME:
            raise CandidateFailed(
                "LiteRT does not tell the times of single operators", hint="profile the ONNX model instead"
            )
        with self._suspected(artifact) as dialogue, scratch() as folder:
            path = folder / "feeds.npz"
            names = feeds_files.write(path, [fed(artifact.interface, feeds)])
            sha256 = self._store([(artifact.path, artifact.sha256)], path)
            times = dialogue.ask(
                "profile", REQUEST_DEADLINE_S, is_heard=True,
                job=job(artifact, sha256, names), runs=runs, token=self._token,
            )  # fmt: skip
        return {str(node): float(time_ms) for node, time_ms in times.items()}

    def infer(self, artifact: Artifact, samples: Iterable[Feeds]) -> Iterator[list[NDArray[np.generic]]]:
        """See `Board.infer`.

        Raises:
            CandidateFailed: The artifact cannot be run.
        """
        self._require(artifact.runtime)
        self._require_room(artifact)
        for group in feeds_files.chunks(fed(artifact.interface, sample) for sample in samples):
            with scratch() as folder:
                asked, answered = folder / "samples.npz", folder / "outputs.npz"
                names = feeds_files.write(asked, group)
                with self._suspected(artifact) as dialogue:
                    sha256 = self._store([(artifact.path, artifact.sha256)], asked)
                    result = dialogue.ask("infer", REQUEST_DEADLINE_S, job=job(artifact, sha256, names))
                    if self._transport:
                        self._transport.get(result["sha256"], answered)
                yield from feeds_files.read(answered)

    def _with_roofline(
        self, result: Measurement | CandidateFailed, artifact: Artifact, feeds: Feeds
    ) -> Measurement | CandidateFailed:
        if isinstance(result, CandidateFailed):
            return result
        ceiling_ms = self._ceiling_ms(artifact, shapes_of(fed(artifact.interface, feeds)))
        return (
            replace(result, roofline_fraction=min(1.0, ceiling_ms / result.p50_ms)) if ceiling_ms else result
        )
