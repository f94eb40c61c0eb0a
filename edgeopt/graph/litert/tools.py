"""Asks the conversion tools: some steps, a deadline, a log of what failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import CandidateFailed, EdgeoptError
from edgeopt.core.files import cannot_write, write_atomically
from edgeopt.graph.litert.worker import Ended, Worker

DEADLINE_S = 900.0

Feeds = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools at work on one model.

    Attributes:
        worker: Does it.
        log: Receives all that they print, when they fail.
        what: What they do, for messages (`converting to LiteRT`).
        deadline_s: After which they are killed.
    """

    worker: Worker
    log: Path
    what: str
    deadline_s: float = DEADLINE_S

    def do(self, *steps: Mapping[str, object]) -> list[Any]:
        """Run steps of `driver.py`; their results.

        Raises:
            CandidateFailed: The model's fault: in one line, with the log in the hint.
            EdgeoptError: The tools' environment is damaged, or there is no disk.
        """
        try:
            answers = json.loads(self.worker.ask(json.dumps(steps), self.deadline_s))
        except OSError as error:
            raise self._damaged(str(error)) from error
        except Ended as ended:
            if ended.status is None:
                raise self._failed(f"not done after {self.deadline_s:.0f} s") from None
            status = ended.status
            died = f"signal {-status}" if status < 0 else f"exit code {status}"
            raise self._failed(f"the tool crashed ({died})") from None
        if "error" not in answers[-1]:
            return [each["ok"] for each in answers]
        failure = answers[-1]["error"]
        if failure["kind"] == "environment":
            raise self._damaged(failure["message"])
        raise self._failed(reason(failure["message"]))

    def _damaged(self, why: str) -> EdgeoptError:
        return EdgeoptError(
            f"the LiteRT conversion tools are damaged: {why}",
            hint=f"remove them, and they are installed again: rm -r {self.worker.environment.folder}",
        )

    def _failed(self, why: str) -> CandidateFailed:
        write_atomically(self.log, self.worker.said)
        return CandidateFailed(f"{self.what} failed: {why}", hint=f"the tool's log is {self.log}")


def reason(message: str) -> str:
    """The tool's own sentence in one line, with the operator if it names one."""
    if found := re.search(r"unresolved custom op: (?:ONNX_)?(\w+)", message):
        return f"LiteRT has no operator for {found[1]} as it is used here"
    if found := re.search(r"op=(\S+) node=(\S+) .*?message=([^\n]*)", message):
        operator, node, why = found.groups()
        return f"{operator} {node}: {why}"[:300]
    lines = [line.strip() for line in message.splitlines() if line.strip() and not line.startswith("See ")]
    return re.sub(r"\x1b\[\d+m", "", " ".join(lines))[:300]


def write_samples(folder: Path, samples: Iterable[Feeds], names: Sequence[str]) -> int:
    """One file per sample and input, as `driver.py` reads them; returns how many samples there were.

    Raises:
        EdgeoptError: No disk.
    """
    count = 0
    try:
        for count, feeds in enumerate(samples, start=1):
            for position, name in enumerate(names):
                np.save(folder / f"{count - 1}_{position}.npy", feeds[name])
    except OSError as error:
        raise cannot_write(folder, error) from error
    return count


def read_outputs(folder: Path, samples: int, outputs: int) -> Iterator[list[NDArray[np.generic]]]:
    """What the step `run` wrote."""
    for number in range(samples):
        yield [np.load(folder / f"{number}_{position}.npy") for position in range(outputs)]
