"""The policy after each proposal, on disk: a resumed study goes on with the agent that it had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeopt.core.digest import value_digest
from edgeopt.core.files import cannot_write, write_atomically
from edgeopt.core.trial import Trial
from edgeopt.search import weights
from edgeopt.search.context import SearchContext
from edgeopt.search.weights import Arrays

KEPT = 3
"""Newest files kept: the one before the running trial is needed again when that trial is repeated."""


class Checkpoints:
    """Weights by trial number; in memory where the context has no folder.

    Each is bound to the history that its agent had seen and to the policy that the study began with, so that
    one of another study, or of a study begun anew in the same folder, is never continued.
    """

    def __init__(self, context: SearchContext, policy: str = "") -> None:
        """`policy` is the digest of the weights that the study began with, empty for none."""
        self._folder = None if context.folder is None else context.folder / "policy"
        self._memory: dict[int, bytes] = {}
        # One digest per beginning of the history: the next is made from the last, so that a long history is
        # not hashed anew for every proposal.
        self._chain = [value_digest(context.seed, context.space.model_digest, _sites(context), policy)]
        self._chained: list[Trial] = []

    def latest(self, number: int, history: Sequence[Trial]) -> Arrays | None:
        """Weights of the last proposal before `number` that saw a beginning of `history`."""
        for candidate in sorted(self._numbers(), reverse=True):
            if candidate < number and (saved := self._load(candidate)):
                arrays, header = saved
                if header.get("seen") == self._seen(history[: int(header.get("trials", 0))]):
                    return arrays
        return None

    def save(self, number: int, history: Sequence[Trial], arrays: Arrays) -> None:
        """Keep `arrays` as those after proposal `number`; replaces the file in one step.

        Raises:
            EdgeoptError: The disk is full or not writable.
        """
        content = weights.dump(arrays, {"trials": len(history), "seen": self._seen(history)})
        if self._folder is None:
            self._memory[number] = content
            self._memory = {n: self._memory[n] for n in sorted(self._memory)[-KEPT:]}
            return
        path = _path(self._folder, number)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            for old in sorted(self._numbers())[:-KEPT]:
                _path(self._folder, old).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error

    def _load(self, number: int) -> tuple[Arrays, dict[str, Any]] | None:
        try:
            content = (
                self._memory[number] if self._folder is None else _path(self._folder, number).read_bytes()
            )
            return weights.load(content)
        except (OSError, ValueError):
            return None  # torn by a crash: an older one, or a new policy, takes its place

    def _numbers(self) -> list[int]:
        if self._folder is None:
            return list(self._memory)
        stems = (path.stem for path in self._folder.glob("*.npz"))
        return [int(stem) for stem in stems if stem.isdigit()]

    def _seen(self, history: Sequence[Trial]) -> str:
        same = 0
        while same < min(len(history), len(self._chained)) and self._chained[same] is history[same]:
            same += 1
        if same < len(history):
            del self._chained[same:], self._chain[same + 1 :]
        for trial in history[same:]:
            self._chain.append(value_digest(self._chain[-1], trial.number, trial.candidate.key, trial.state))
            self._chained.append(trial)
        return self._chain[len(history)]


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.npz"


def _sites(context: SearchContext) -> list[list[object]]:
    return [[point.site, *point.options] for point in context.space.points]
