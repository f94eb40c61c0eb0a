"""Loads a model in a process of its own first: what makes the runtime abort must not take the study along.

Run as a module it is the child: it reads one JSON request per line (`{"model", "options", "runtime"}`), loads
the model and answers `{"error": null}` or why it could not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgeopt.core.closing import Closing
from edgeopt.core.errors import CandidateFailed, ConfigError, ModelError


class Probe(Closing):
    """A child that loads models; started when it is first needed, and again after a crash."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def check(self, model: Path, options: Mapping[str, object], runtime: str = "onnxruntime") -> None:
        """Load a model in the child.

        Raises:
            CandidateFailed: The runtime refuses it, or dies of it.
        """
        child = self._running()
        assert child.stdin is not None  # noqa: S101 - both are pipes
        assert child.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # a dead child answers with an empty line
            child.stdin.write(
                json.dumps({"model": str(model), "options": dict(options), "runtime": runtime}) + "\n"
            )
            child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise CandidateFailed(f"the runtime crashes when it loads the model ({_death(self._end(child))})")
        if (error := json.loads(answer)["error"]) is not None:
            raise CandidateFailed(error)

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._end(self._child)

    def _end(self, child: subprocess.Popen[str]) -> int:
        """Its exit code; it ends by itself when its stdin is closed."""
        self._child = None
        with contextlib.suppress(BrokenPipeError), child:
            pass
        return child.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._child is not None and self._child.poll() is not None:
            self._end(self._child)
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "edgeopt.runtimes.probe"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                # Ctrl-C is for the study to handle: the child ends when its stdin is closed.
                start_new_session=True,
            )  # fmt: skip
        return self._child


def _death(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve() -> None:
    """Answer requests until stdin is closed."""
    from edgeopt.runtimes import litert, onnxruntime

    runtimes = {onnxruntime.NAME: onnxruntime.Session, litert.NAME: litert.Session}
    # Whatever the runtime prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        error = None
        try:
            runtimes[request["runtime"]](Path(request["model"]), request["options"])
        except (ConfigError, ModelError) as refusal:
            error = refusal.message
        print(json.dumps({"error": error}), file=answers, flush=True)


if __name__ == "__main__":
    serve()
