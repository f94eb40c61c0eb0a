"""Drives the real command line in processes of its own, and watches what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.cli.main import main

COMMAND = (sys.executable, "-m", "edgeopt")
PATIENCE_S = 240.0

_WINDOWS = "min_runs = 8, window_s = 0.05, slice_s = 0.025, deadline_s = 60.0"
_FACTS = {
    "screen": f"{{ processes = 1, {_WINDOWS} }}",
    "rank": f"{{ processes = 1, {_WINDOWS} }}",
    "final": f"{{ processes = 2, {_WINDOWS} }}",
    # On a busy machine no drift is too much: what is measured is not the point of these tests.
    "max_drift": "1e6", "max_control_drift": "1e6", "max_process_cv": "1e6", "quiet_process_cv": "1e6",
    "quiet_drift": "1e6",
    "max_other_cpu": "1.0", "max_swap_bytes": "1e15",
    "tries": "3", "cooldown_s": "0.01",
}  # fmt: skip
TINY_DEVICE = 'title = "Tiny windows"\n[measurement]\n' + "".join(
    f'{name} = {{ value = {value}, unit = "as in local.toml", source = "tests", confidence = "high" }}\n'
    for name, value in _FACTS.items()
)


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def told(self) -> list[int]:
        """Numbers of the trials that this run finished, in order."""
        return trial_numbers(self.err)


class Running:
    """A command at work; its output goes to files, so that nothing blocks and nothing is lost."""

    def __init__(
        self,
        arguments: tuple[object, ...],
        folder: Path,
        preexec: Callable[[], None] | None = None,
        home: Path | None = None,
    ) -> None:
        number = len(list(folder.glob(".ran-*.err")))
        self._out, self._err = folder / f".ran-{number}.out", folder / f".ran-{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True, preexec_fn=preexec,
                env=os.environ | ({"HOME": str(home), "EDGEOPT_HOME": str(home / "edgeopt")} if home else {}),
            )  # fmt: skip

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def reaches(self, text: str) -> bool:
        """Wait until stderr has `text`; False if the command ended without it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            if text in self.err:
                return True
            if ended:
                return False
            time.sleep(0.01)
        raise AssertionError(f"nothing of {text!r} in:\n{self.err}")

    def runs_for(self, seconds: float) -> bool:
        """Let it work; False if it ended before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            return False
        return True

    def kill(self) -> Ran:
        """`kill -9` of this one process: nothing that it started is told."""
        self.process.kill()
        return self.wait()

    def interrupt(self) -> Ran:
        """Ctrl-C: SIGINT to the process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait()

    def wait(self) -> Ran:
        code = self.process.wait(PATIENCE_S)
        return Ran(code, self._out.read_text(errors="replace"), self.err)


class Program:
    """`edgeopt` in one working folder; `home` if it is not that of the environment."""

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self.folder, self._home = folder, home
        self.device = folder / "tiny.toml"
        self.device.write_text(TINY_DEVICE)

    def __call__(self, *arguments: object) -> Ran:
        return self.start(*arguments).wait()

    def start(self, *arguments: object, preexec: Callable[[], None] | None = None) -> Running:
        return Running(arguments, self.folder, preexec, self._home)

    def optimize(self, *arguments: object) -> Ran:
        """With tiny windows, on this machine unless told otherwise, answering in JSON."""
        return self(*self.optimizing(*arguments))

    def optimizing(self, *arguments: object) -> tuple[object, ...]:
        board = () if "--board" in arguments else ("--board", "local")
        seed = () if "--seed" in arguments else ("--seed", 0)
        return ("optimize", *arguments, "--device", self.device, *board, *seed, "--json")


class Inside(Program):
    """The same command line in this process: what is about an answer need not import everything anew."""

    def __call__(self, *arguments: object) -> Ran:
        out, err = self.folder / ".inside.out", self.folder / ".inside.err"
        with contextlib.chdir(self.folder), _printing_to(out, err):
            code = main([str(argument) for argument in arguments])
        return Ran(code, out.read_text(errors="replace"), err.read_text(errors="replace"))


@contextlib.contextmanager
def _printing_to(out: Path, err: Path) -> Iterator[None]:
    """All that is printed meanwhile goes to files, also what goes to the descriptors themselves."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    try:
        with out.open("w") as said, err.open("w") as complained:
            os.dup2(said.fileno(), 1)
            os.dup2(complained.fileno(), 2)
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
                yield
    finally:
        for descriptor, copy in kept:
            os.dup2(copy, descriptor)
            os.close(copy)


def trial_numbers(err: str) -> list[int]:
    return [int(number) for number in re.findall(r"^trial +(\d+) ", err, re.MULTILINE)]


def leftovers(home: Path) -> list[str]:
    """Processes of this test that still run: they and no others have its home."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in environment.read_bytes().split(b"\0"):
                found.append(environment.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [command for command in found if command]


def all_ended(home: Path) -> list[str]:
    """What still runs once everything has had the time to notice the death of what it served."""
    end = time.monotonic() + 30
    while (left := leftovers(home)) and time.monotonic() < end:
        time.sleep(0.05)
    return left
