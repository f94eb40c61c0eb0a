"""Makes the changed models of candidates: structure first, then everything else starts from the result."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint
from edgeopt.graph import calibration, structure
from edgeopt.graph.calibration import Ranges, Samples
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.structure._kept import Kept
from edgeopt.graph.structure._knowledge import Knowledge, prepared
from edgeopt.graph.structure._recovery import recover

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
    """

    def __init__(
        self,
        model: Model,
        found: Iterable[Region],
        part: Samples,
        statistics: Statistics,
        folder: Path | None = None,
    ) -> None:
        self._model, self._part, self._folder = model, part, folder
        self._knowledge = Knowledge(prepared(model, found), statistics)
        self._kept = Kept(folder)
        self._variants: OrderedDict[str, Variant] = OrderedDict()

    @property
    def digest(self) -> str:
        """Of what all changed models follow from, besides the decisions."""
        return self._knowledge.digest

    def variant(self, decisions: Mapping[str, str], *, refitted: bool = True) -> Variant:
        """The model after the structure decisions of a candidate.

        Args:
            decisions: Site -> option, where that is not the unchanged one.
            refitted: Whether layers are refitted to make up for the changes.

        Raises:
            CandidateFailed: It cannot be made.
        """
        key = value_digest(sorted(decisions.items()), refitted)
        if key not in self._variants:
            self._variants[key] = self._made(decisions, refitted)
        self._variants.move_to_end(key)
        if len(self._variants) > KEPT_VARIANTS:
            self._variants.popitem(last=False)
        return self._variants[key]

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
        digest = hashlib.sha256(to_bytes(graph)).hexdigest()
        model = replace(self._model, ir=graph, digest=digest)
        statistics = Statistics(model, self._part, folder=self._folder)
        return Variant(model, statistics, self._part, self._folder)


def structure_points(model: Model, found: Sequence[Region]) -> dict[str, list[DecisionPoint]]:
    """What can be decided about a frozen model's structure, by region."""
    graph = prepared(model, found)
    points: dict[str, list[DecisionPoint]] = {}
    for name in structure.names():
        for site in structure.change(name).sites(graph):
            point = DecisionPoint(f"structure:{name}@{site.region}", site.options, structure.UNCHANGED)
            points.setdefault(site.region, []).append(point)
    return points
