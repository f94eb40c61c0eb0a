"""Every way a command can end badly, as a kind, a message, a hint and an exit code."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

import typer

from edgeopt.core.errors import EdgeoptError

# Typer raises click's errors, from its own copy of click or from the installed one.
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
COMMAND_LINE_ERROR: type[Exception] = USAGE_ERROR.__bases__[0]

MAX_LINES = 8
MAX_CHARACTERS = 2000

_ELSEWHERE = ", or choose another place with -o"
"""For commands that have it."""

_HOST = {
    errno.ENOSPC: ("no space left on the disk", "free some space and repeat the command: it resumes"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and repeat the command: it resumes"),
    errno.EACCES: ("permission denied", f"check who owns it{_ELSEWHERE}"),
    errno.EPERM: ("permission denied", f"check who owns it{_ELSEWHERE}"),
    errno.EROFS: ("the disk is read-only", f"mount it to be written to{_ELSEWHERE}"),
    errno.EEXIST: ("in the way", f"move it{_ELSEWHERE}"),
    errno.ENOENT: ("no such file or folder", None),
    errno.ENOTDIR: ("not a folder", None),
    errno.EISDIR: ("a folder, not a file", None),
    errno.ENAMETOOLONG: ("the name is too long", None),
    errno.EMFILE: ("too many open files", "raise the limit with ulimit -n"),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command failed."""

    kind: str
    message: str
    hint: str | None
    exit_code: int

    def document(self) -> dict[str, Any]:
        """The JSON answer of a failed command."""
        return {"error": {"kind": self.kind, "message": self.message, "hint": self.hint}}

    def lines(self) -> str:
        """`error: …` and `hint: …`, few enough to be read."""
        text = _short(f"error: {self.message}")
        return text + (f"\n{_short(f'hint: {self.hint}')}" if self.hint else "")


def failure(error: BaseException, *, has_output: bool = False) -> Failure:
    """Say what an exception means to the user.

    Args:
        has_output: The command knows `-o`, which may be worth a hint.
    """
    if isinstance(error, EdgeoptError):
        return Failure(error.kind, error.message, error.hint, error.exit_code)
    if isinstance(error, COMMAND_LINE_ERROR):
        return _usage(error)
    # What the system says of a file is the host's matter, also where no hint is known for it.
    if isinstance(error, OSError) and error.errno and (error.errno in _HOST or error.filename):
        what, hint = _HOST.get(error.errno, (os.strerror(error.errno).lower(), None))
        where = f": {error.filename}" if error.filename else ""
        if hint and not has_output:
            hint = hint.removesuffix(_ELSEWHERE)
        return Failure("host", f"{what}{where}", hint, 1)
    if isinstance(error, MemoryError):
        return Failure("host", "this machine ran out of memory", "close other programs or use less data", 1)
    cause = " ".join(str(error).split())[:300]
    what = f"internal error: {type(error).__name__}{': ' if cause else ''}{cause}"
    return Failure("internal", what, "this is a bug in edgeopt; run with --debug for the traceback", 1)


def _usage(error: Exception) -> Failure:
    format_message = getattr(error, "format_message", error.__str__)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgeopt"
    message = " ".join(str(format_message()).split()).replace("Value error, ", "").rstrip(".")
    message = message[:1].lower() + message[1:]
    return Failure("usage", message, f"see {command} --help", getattr(error, "exit_code", 2))


def _short(text: str) -> str:
    lines = text[:MAX_CHARACTERS].strip().splitlines()
    return "\n".join(lines[:MAX_LINES] + (["…"] if len(lines) > MAX_LINES else []))
