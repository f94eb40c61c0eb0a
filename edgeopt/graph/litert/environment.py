"""The environment of the conversion tools: made once, by whichever process needs it first."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.cache import cache_folder
from edgeopt.core.errors import EdgeoptError
from edgeopt.core.files import cannot_write, write_atomically
from edgeopt.graph.litert.process import run
from edgeopt.graph.litert.pythons import find_python

TOOLS = Path(__file__).with_name("tools.txt")
READY = "ready"
"""Written last: an environment without it is half made, and made again."""

_MAKE_S = 900.0


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with the tools of `tools.txt`.

    Attributes:
        folder: Where it is.
        digest: Of the list of tools: part of the key of everything that they make.
    """

    folder: Path
    digest: str

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def variables(self) -> dict[str, str]:
        """Environment variables for its programs: nothing of this Python's, no telemetry."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
        }
        return kept | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONNOUSERSITE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
        }


def environment(announce: Callable[[str], None] = lambda _: None) -> Environment:
    """The environment, which is made if it is not there: half a minute and 530 MB, once.

    Two processes at once make one: the second waits. What a killed process left half made is made again, and
    not before the installer that it may have left behind has ended.

    Args:
        announce: Is told what takes so long.

    Raises:
        EdgeoptError: No suitable Python, no network, no disk; the installer's log is named in the hint.
    """
    wanted = _wanted()
    if _is_ready(wanted):
        return wanted
    try:
        wanted.folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(wanted.folder.with_suffix(".lock"), announce) as lock:
            if not _is_ready(wanted):
                _make(wanted, lock, announce)
    except OSError as error:
        raise cannot_write(wanted.folder, error) from error
    return wanted


def found() -> Environment | None:
    """The environment, if it was made before: nothing is installed."""
    wanted = _wanted()
    return wanted if _is_ready(wanted) else None


def _wanted() -> Environment:
    digest = hashlib.sha256(TOOLS.read_bytes()).hexdigest()
    return Environment(cache_folder() / "litert" / f"tools-{digest[:16]}", digest)


def _is_ready(found: Environment) -> bool:
    """Its Python is a link: it is gone when that Python was removed."""
    return (found.folder / READY).is_file() and found.python.exists()


@contextmanager
def _locked(path: Path, announce: Callable[[str], None]) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            announce("waiting for another process that installs the LiteRT conversion tools")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _make(wanted: Environment, lock: int, announce: Callable[[str], None]) -> None:
    python = find_python()
    announce("installing the LiteRT conversion tools (about half a minute, 530 MB, once)")
    if wanted.folder.exists():
        shutil.rmtree(wanted.folder)
    log = wanted.folder.with_suffix(".log")
    _run([python, "-m", "venv", wanted.folder], wanted, lock, log)
    install = ["-m", "pip", "install", "--no-input", "--no-deps", "--only-binary", ":all:", "-r"]
    _run([wanted.python, *install, TOOLS], wanted, lock, log)
    write_atomically(wanted.folder / READY, f"{python}\n".encode())


def _run(command: list[str | Path], wanted: Environment, lock: int, log: Path) -> None:
    """Run an installer. It inherits the lock: if this process is killed, the lock is held until it ends."""
    try:
        temporary = wanted.folder / "tmp"  # what an installer that is killed leaves goes with the rest
        temporary.mkdir(parents=True, exist_ok=True)
        variables = {**wanted.variables(), "TMPDIR": str(temporary)}
        status = run(command, variables, log, _MAKE_S, inherited=(lock,))
        shutil.rmtree(temporary)
    except BaseException:
        shutil.rmtree(wanted.folder, ignore_errors=True)
        raise
    if status != 0:
        shutil.rmtree(wanted.folder, ignore_errors=True)
        why = _last_error(log, status) if status is not None else f"not done after {_MAKE_S:.0f} s"
        raise EdgeoptError(
            f"the LiteRT conversion tools cannot be installed: {why}",
            hint=f"they come from the package index, once; the installer's log is {log}",
        )


def _last_error(log: Path, status: int) -> str:
    said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in said if line]
    errors = [line for line in lines if line.startswith(("ERROR:", "Error:", "OSError:"))]
    return (errors or lines or [f"exit code {status}"])[-1].removeprefix("ERROR:").strip()[:300]
