"""The policy after each proposal, on disk: a resumed study goes on with the agent that it had."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeopt.core.digest import value_digest
from edgeopt.core.files import cannot_write, written_atomically
from edgeopt.core.trial import Trial
from edgeopt.search.context import SearchContext

KEPT = 3
"""Newest files kept: the one before the running trial is needed again when that trial is repeated."""


class Checkpoints:
    """Weights by trial number; in memory where the context has no folder.

    Each is bound to the history that its agent had seen, so that one of another study, or of a study begun
    anew in the same folder, is never continued.
    """

    def __init__(self, context: SearchContext) -> None:
        self._folder = None if context.folder is None else context.folder / "policy"
        self._memory: dict[int, dict[str, Any]] = {}
        self._basis = value_digest(context.seed, context.space.model_digest, _sites(context))

    def latest(self, number: int, history: Sequence[Trial]) -> dict[str, Any] | None:
        """Weights of the last proposal before `number` that saw a beginning of `history`."""
        for candidate in sorted(self._numbers(), reverse=True):
            if candidate < number:
                saved = self._load(candidate)
                if saved and saved["seen"] == self._seen(history[: saved["trials"]]):
                    weights: dict[str, Any] = saved["weights"]
                    return weights
        return None

    def save(self, number: int, history: Sequence[Trial], weights: dict[str, Any]) -> None:
        """Keep `weights` as those after proposal `number`; replaces the file in one step.

        Raises:
            EdgeoptError: The disk is full or not writable.
        """
        import torch

        saved = {"trials": len(history), "seen": self._seen(history), "weights": weights}
        if self._folder is None:
            self._memory[number] = saved
            self._memory = {n: self._memory[n] for n in sorted(self._memory)[-KEPT:]}
            return
        path = _path(self._folder, number)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with written_atomically(path) as stream:
                torch.save(saved, stream)
            for old in sorted(self._numbers())[:-KEPT]:
                _path(self._folder, old).unlink(missing_ok=True)
        except RuntimeError as error:  # torch's own, for a disk that is full
            raise cannot_write(path, OSError(str(error))) from error
        except OSError as error:
            raise cannot_write(path, error) from error

    def _load(self, number: int) -> dict[str, Any] | None:
        if self._folder is None:
            return self._memory[number]
        import torch

        try:
            saved: dict[str, Any] = torch.load(_path(self._folder, number), weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None  # torn by a crash: an older one, or a new policy, takes its place
        return saved

    def _numbers(self) -> list[int]:
        if self._folder is None:
            return list(self._memory)
        stems = (path.stem for path in self._folder.glob("*.pt"))
        return [int(stem) for stem in stems if stem.isdigit()]

    def _seen(self, history: Sequence[Trial]) -> str:
        return value_digest(self._basis, [[t.number, t.candidate.key, t.state] for t in history])


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.pt"


def _sites(context: SearchContext) -> list[list[object]]:
    return [[point.site, *point.options] for point in context.space.points]
