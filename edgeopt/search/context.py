"""What a sampler is given to propose from: the space, what is asked for, and what was measured so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeopt.core.candidate import ONNXRUNTIME, RUNTIME, Candidate
from edgeopt.core.objective import Objective
from edgeopt.core.saving import Savings
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.search.initial import InitialPolicy

RegionTimes = Mapping[str, Mapping[str, float]]
"""Precision option -> region -> measured ms, from profiling uniform models on the board."""

UNCHANGED = "float32"
"""The precision that every region has as it was given."""

RegionNoise = Mapping[str, Mapping[str, float]]
"""Precision option -> region -> relative noise that it adds there (`graph.sensitivity`)."""


def _nothing() -> Mapping[str, Mapping[str, float]]:
    return {}


def _no_savings() -> Savings:
    return {}


def _no_score() -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Everything that a sampler may use. The callables are read anew for every proposal.

    Attributes:
        space: The decision points.
        objective: Constraints, and the figure to make small.
        seed: The same seed and the same measurements give the same proposals.
        folder: Where a sampler may keep files that survive a kill (None: nowhere).
        history: All finished trials, oldest first.
        original_score: Of the metric on the search part; None without data or before the baseline.
        region_ms: Measured times of regions; may be empty.
        region_noise: Noise of precision options, computed on the host; may be empty.
        policy: What an agent starts from.
        savings: How much less work options of structure leave; may be empty.
    """

    space: SearchSpace
    objective: Objective
    seed: int
    folder: Path | None
    history: Callable[[], Sequence[Trial]]
    original_score: Callable[[], float | None] = _no_score
    region_ms: Callable[[], RegionTimes] = _nothing
    region_noise: Callable[[], RegionNoise] = _nothing
    policy: InitialPolicy = field(default_factory=InitialPolicy)
    savings: Callable[[], Savings] = _no_savings

    def under(self, runtime: str) -> SearchContext:
        """What a sampler is given that decides all but the runtime: its trials and its options only.

        What single regions cost was profiled on ONNX Runtime. On another runtime only the float32 times are
        kept, which tell the regions' shares, and no ratio between precisions.
        """

        def shares() -> RegionTimes:
            return {option: times for option, times in self.region_ms().items() if option == UNCHANGED}

        return replace(
            self,
            space=self.space.under(runtime),
            folder=None if self.folder is None else self.folder / "policy" / runtime,
            history=lambda: [trial for trial in self.history() if trial.candidate.runtime == runtime],
            region_ms=self.region_ms if runtime == ONNXRUNTIME else shares,
        )

    def pending(self, running: Sequence[Mapping[str, str]]) -> list[Candidate]:
        """Candidates of this space that were proposed and are not measured yet."""
        chosen = self.space.runtimes
        return [
            self.space.candidate(decisions)
            for decisions in running
            if not chosen or decisions.get(RUNTIME) in chosen
        ]

    def allowed_drop(self) -> float | None:
        """The absolute drop that the objective allows; None where accuracy is not known."""
        score = self.original_score()
        return None if score is None else self.objective.max_drop.allowed(score)


def size(space: SearchSpace) -> int:
    """How many different candidates a space has."""
    if len(space.runtimes) > 1:
        return sum(size(space.under(runtime)) for runtime in space.runtimes)
    return math.prod(len(point.options) for point in space.points)


def exhausted(space: SearchSpace, history: Sequence[Trial]) -> bool:
    """True when every candidate of the space was tried: the search ends early."""
    # Most spaces are far too large to be exhausted: do not hash every candidate to find out.
    if size(space) > len(history):
        return False
    runtimes = space.runtimes or (ONNXRUNTIME,)
    tried = {trial.candidate.decisions for trial in history if trial.candidate.runtime in runtimes}
    return len(tried) >= size(space)
