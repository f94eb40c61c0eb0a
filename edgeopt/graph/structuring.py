"""Makes the changed models of candidates: structure first, then everything else starts from the result."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.region import Region
from edgeopt.core.saving import Savings
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.graph import calibration, structure
from edgeopt.graph.calibration import Ranges, Samples
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.structure._distilled import Learnt, LearntStore
from edgeopt.graph.structure._kept import Kept
from edgeopt.graph.structure._knowledge import Knowledge, prepared
from edgeopt.graph.structure._recovery import recover
from edgeopt.graph.structure._savings import savings

if TYPE_CHECKING:
    from edgeopt.graph.training.samples import Lessons

LEARNT_FORMAT = 1
"""Raise it whenever the same samples and the same seed teach otherwise."""

KEPT_VARIANTS = 8
"""Changed models that stay in memory: what is built is mostly a variation of the last ones."""


@dataclass(slots=True)
class Variant:
    """A model after changes of its structure.

    Attributes:
        model: Tagged with the regions of the original.
        statistics: Of its own activations.
    """

    model: Model
    statistics: Statistics
    _part: Samples
    _folder: Path | None
    _ranges: Ranges | None = None

    def ranges(self) -> Ranges:
        """Its own calibrated ranges, measured when they are first asked for.

        Raises:
            CandidateFailed: It cannot compute a sample.
        """
        if self._ranges is None:
            try:
                self._ranges = calibration.collect(self.model, self._part, folder=self._folder)
            except ModelError as error:
                raise CandidateFailed(f"the changed model cannot be calibrated: {error.message}") from error
        return self._ranges


class Structures:
    """The changed models of one frozen model.

    Args:
        model: Frozen.
        found: Its regions.
        part: Calibration samples.
        statistics: Of `model` on `part`.
        folder: Where results are kept by content; None keeps them in memory.
        unlabelled: What is distilled on, beside the calibration samples.
        seed: Of distillation.
        learnt_in: Where distilled weights are kept; None keeps them in memory.
    """

    def __init__(
        self,
        model: Model,
        found: Iterable[Region],
        part: Samples,
        statistics: Statistics,
        folder: Path | None = None,
        *,
        unlabelled: Samples | None = None,
        seed: int = 0,
        learnt_in: Path | None = None,
    ) -> None:
        self._model, self._part, self._folder = model, part, folder
        self._knowledge = Knowledge(prepared(model, found), statistics)
        self._kept = Kept(folder)
        self._variants: OrderedDict[str, Variant] = OrderedDict()
        self._unlabelled, self._seed = unlabelled, seed
        self._learnt = LearntStore(learnt_in)
        self._lessons: Lessons | None = None

    @property
    def digest(self) -> str:
        """Of what all changed models follow from, besides the decisions."""
        return self._knowledge.digest

    def variant(
        self, decisions: Mapping[str, str], *, refitted: bool = True, distilled: bool = False
    ) -> Variant:
        """The model after the structure decisions of a candidate.

        Args:
            decisions: Site -> option, where that is not the unchanged one.
            refitted: Whether layers are refitted to make up for the changes.
            distilled: Whether it then gets the weights of `distil`.

        Raises:
            CandidateFailed: It cannot be made, or its distilled weights are not there.
        """
        learnt = self.needed(decisions) if distilled else None
        key = value_digest(sorted(decisions.items()), refitted, learnt.digest if learnt else None)
        if key not in self._variants and learnt is not None:
            graph = self.variant(decisions).model.ir.clone()
            learnt.put_into(graph)
            self._variants[key] = self._of(graph)
        if key not in self._variants:
            self._variants[key] = self._made(decisions, refitted)
        self._variants.move_to_end(key)
        if len(self._variants) > KEPT_VARIANTS:
            self._variants.popitem(last=False)
        return self._variants[key]

    def savings(self, space: SearchSpace) -> Savings:
        """What each option of the structure decisions saves; nothing is refitted.

        Raises:
            CandidateFailed: A calibration sample cannot be computed.
        """
        return savings(self._knowledge, space)

    def _made(self, decisions: Mapping[str, str], refitted: bool) -> Variant:
        graph = self._knowledge.graph.clone()
        wanted: dict[str, dict[str, str]] = {}
        for site, option in decisions.items():
            head, _, region = site.partition("@")
            wanted.setdefault(head.partition(":")[2], {})[region] = option
        try:
            for name in structure.names():
                for region, option in sorted(wanted.get(name, {}).items()):
                    graph = structure.change(name).apply(graph, region, option, self._knowledge)
            if refitted:
                recover(graph, self._knowledge, self._part, self._kept)
        except ModelError as error:
            raise CandidateFailed(f"the structure cannot be changed: {error.message}") from error
        return self._of(graph)

    def _of(self, graph: ir.Model) -> Variant:
        digest = hashlib.sha256(to_bytes(graph)).hexdigest()
        model = replace(self._model, ir=graph, digest=digest)
        statistics = Statistics(model, self._part, folder=self._folder)
        return Variant(model, statistics, self._part, self._folder)

    def learnt(self, decisions: Mapping[str, str]) -> Learnt | None:
        """What distilling a changed model brought; None where that was not done."""
        return self._learnt.get(self._learnt_key(decisions))

    def needed(self, decisions: Mapping[str, str]) -> Learnt:
        """What distilling brought, where a candidate is built on it.

        Raises:
            CandidateFailed: It was not done here, or brought nothing.
        """
        learnt = self.learnt(decisions)
        if learnt is None or not learnt.is_better:
            raise CandidateFailed("its distilled weights are not in the study's folder")
        return learnt

    def distil(
        self,
        decisions: Mapping[str, str],
        *,
        budget_s: float,
        has_classes: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> Learnt:
        """Train a refitted model to answer as the original does; what was trained before is not again.

        Args:
            decisions: Site -> option, where that is not the unchanged one.
            budget_s: Seconds that it may take; what is under way when they end, a step of training, is ended.
            has_classes: Whether output 0 holds scores of classes.
            clock: Seconds.

        Raises:
            CandidateFailed: The changed model cannot be made, or compute a sample.
            EdgeoptError: The result cannot be written (disk full, permission).
        """
        if (known := self.learnt(decisions)) is not None:
            return known
        begun = clock()
        from edgeopt.graph.training.teaching import teach  # torch takes seconds to load

        changed = self.variant(decisions).model
        learnt, self._lessons = teach(
            self._model, changed, [self._part, *([self._unlabelled] if self._unlabelled else [])],
            self._lessons, end_s=begun + budget_s, seed=self._seed, has_classes=has_classes, clock=clock,
        )  # fmt: skip
        if learnt.is_better or learnt.facts.get("ended") != "budget":  # with more time it may get better
            self._learnt.put(self._learnt_key(decisions), learnt)
        return learnt

    def _learnt_key(self, decisions: Mapping[str, str]) -> str:
        unlabelled = self._unlabelled.digest if self._unlabelled is not None else None
        return value_digest(LEARNT_FORMAT, self.digest, sorted(decisions.items()), unlabelled, self._seed)


def structure_points(model: Model, found: Sequence[Region]) -> dict[str, list[DecisionPoint]]:
    """What can be decided about a frozen model's structure, by region."""
    graph = prepared(model, found)
    points: dict[str, list[DecisionPoint]] = {}
    for name in structure.names():
        for site in structure.change(name).sites(graph):
            point = DecisionPoint(f"structure:{name}@{site.region}", site.options, structure.UNCHANGED)
            points.setdefault(site.region, []).append(point)
    return points
