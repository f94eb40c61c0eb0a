"""The process of the conversion tools: started when it is first needed, and kept from one file to the next.

To import the tools takes seconds, to quantize a file once more a fraction of one.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from pathlib import Path

from edgeopt.core.closing import Closing
from edgeopt.core.scratch import scratch
from edgeopt.graph.litert.environment import Environment

DRIVER = Path(__file__).with_name("driver.py")


class Ended(Exception):
    """The process ended without an answer.

    Attributes:
        status: Its exit code, negative for a signal; None where it was killed at its deadline.
    """

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class Worker(Closing):
    """One process in the tools' environment; after a crash or a missed deadline the next question starts
    another. Nothing of it is left when it is closed.

    Attributes:
        environment: Where the tools are installed.
        said: What the tools printed while they worked on the last question.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment, self.said = environment, b""
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = contextlib.ExitStack()
        self._log = Path()

    def ask(self, line: str, deadline_s: float) -> str:
        """The answer to one line.

        Raises:
            Ended: There is none.
            OSError: The process cannot be started.
        """
        child = self._running()
        before = self._log.stat().st_size
        try:
            answer = self._answer(child, line.encode() + b"\n", time.monotonic() + deadline_s)
        except BaseException:  # Ctrl-C: what it is doing now is of no use
            self._end()
            raise
        if answer is not None and answer.endswith(b"\n"):
            self.said = _from(self._log, before)
            return answer.decode()
        status = None
        if answer is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = child.wait(max(0.0, deadline_s))
        self.said = _from(self._log, before)
        self._end()
        raise Ended(status)

    def close(self) -> None:
        """End the process."""
        self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        folder = self._folder.enter_context(scratch())
        self._log = folder / "log"
        # Where it is killed, its own temporary files go with ours.
        variables = {**self.environment.variables(), "TMPDIR": str(folder)}
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [self.environment.python, "-I", DRIVER], env=variables, cwd=folder,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,  # Ctrl-C is for edgeopt to handle
            )  # fmt: skip
        return self._child

    @staticmethod
    def _answer(child: subprocess.Popen[bytes], line: bytes, end_s: float) -> bytes | None:
        """A line, or what there was of it when the process ended; None at the deadline."""
        assert child.stdin is not None  # noqa: S101 - both are pipes
        assert child.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # who has died answers nothing
            child.stdin.write(line)
            child.stdin.flush()
        answer = b""
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not ready.select(max(0.0, end_s - time.monotonic())):
                    return None
                chunk = os.read(child.stdout.fileno(), 1 << 16)
                if not chunk:
                    break
                answer += chunk
        return answer

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(BrokenPipeError), child:
                pass
        self._folder.close()


def _from(log: Path, start: int) -> bytes:
    with log.open("rb") as stream:
        stream.seek(start)
        return stream.read()
