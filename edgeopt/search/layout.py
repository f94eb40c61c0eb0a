"""A search space as arrays: what the surrogate and the environment compute with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.candidate import Candidate
from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace

Codes = NDArray[np.intp]
"""Encoded candidates, `(B, P)`: the index of the chosen option at each of P points."""

FAMILIES = ("rewrite", "precision", "structure", "quantization", "runtime")


class Layout:
    """Index arrays over P points, R regions and E edges between neighbouring regions.

    A *word* is a precision option's number in `words`; regions whose precision is not decided speak word 0
    (the default). An *edge* carries one region's output to another; its two ends are columns of the codes,
    and column P stands for "not decided".

    Attributes:
        options: `(P,)` number of options.
        default: `(P,)` index of the default option.
        width: Most options of any point (K).
        family: `(P,)` index into `FAMILIES`.
        region: `(P,)` index into `space.regions`, -1 for choices about the whole model.
        group: `(P,)` points of one group decide the same thing about repeated blocks.
        alike: `(P,)` points of one number decide the same thing, about whatever region.
        words: Names of the precision options, the default first.
        word: `(P + 1, K)` word of each option (0 for points of other families).
        column: `(P, K)` feature column of each option that is not the default, -1 for the default.
        edges: `(E, 2)` points of the producing and the consuming region's precision (P: not decided).
        edge_regions: `(E, 2)` the two regions.
        edge_bytes: `(E,)` size of the tensor between them.
        arrivals: Per point the edges that are priced when it is decided: those whose other end is known by
            then, and whether the point is the consuming end of each.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        points = space.points
        self.count = len(points)
        self.options = np.array([len(p.options) for p in points], dtype=np.intp)
        self.default = np.array([p.options.index(p.default) for p in points], dtype=np.intp)
        self.width = int(self.options.max(initial=1))
        self.family = np.array([_family(p) for p in points], dtype=np.intp)
        names = {region.name: i for i, region in enumerate(space.regions)}
        self.region = np.array([names.get(p.region or "", -1) for p in points], dtype=np.intp)
        self.group = _numbered([self._group_key(p, r) for p, r in zip(points, self.region, strict=True)])
        self.alike = _numbered([(p.family, p.name) for p in points])
        self.words = self._collect_words()
        self.word = np.zeros((self.count + 1, self.width), dtype=np.intp)
        self.column = np.full((self.count, self.width), -1, dtype=np.intp)
        self._fill_tables()
        self.columns = int((self.column >= 0).sum())
        self._rows: dict[int, tuple[Candidate, Codes]] = {}
        self.edges, self.edge_regions, self.edge_bytes = self._collect_edges(names)
        self.arrivals = self._collect_arrivals()

    def encode(self, candidates: Sequence[Candidate]) -> Codes:
        """`(B, P)` codes of candidates of this space."""
        rows = np.empty((len(candidates), self.count), dtype=np.intp)
        for i, candidate in enumerate(candidates):
            rows[i] = self._row(candidate)
        return rows

    def decode(self, row: Codes) -> Candidate:
        """The candidate of one row of codes."""
        return self.space.decode(tuple(int(i) for i in row))

    def _row(self, candidate: Candidate) -> Codes:
        # The same trials come back for every proposal. By identity: to hash a candidate is to read all of it.
        known = self._rows.get(id(candidate))
        if known is None:
            known = candidate, np.array(self.space.encode(candidate), dtype=np.intp)
            self._rows[id(candidate)] = known  # holds the candidate, so that its id is no other's
        return known[1]

    def points_of(self, family: str) -> Codes:
        """Points of a family that leave a choice, in order."""
        return np.flatnonzero((self.family == FAMILIES.index(family)) & (self.options > 1))

    def spoken(self, codes: Codes) -> Codes:
        """`(B, P + 1)` the word at each point; the last column is "not decided"."""
        spoken = np.zeros((len(codes), self.count + 1), dtype=np.intp)
        spoken[:, :-1] = self.word[np.arange(self.count), codes]
        return spoken

    def _group_key(self, point: DecisionPoint, region: int) -> Hashable:
        pattern = self.space.regions[region].pattern if region >= 0 else point.site
        return (point.family, point.name, pattern, point.options)

    def _collect_words(self) -> tuple[str, ...]:
        decided = [p for p in self.space.points if p.family == "precision"]
        words = {p.default: None for p in decided} | {o: None for p in decided for o in p.options}
        return tuple(words) or ("float32",)

    def _fill_tables(self) -> None:
        free = iter(range(self.count * self.width))
        for i, point in enumerate(self.space.points):
            for k, option in enumerate(point.options):
                if point.family == "precision":
                    self.word[i, k] = self.words.index(option)
                if option != point.default:
                    self.column[i, k] = next(free)

    def _collect_edges(self, names: dict[str, int]) -> tuple[Codes, Codes, NDArray[np.float64]]:
        regions = self.space.regions
        precision = {
            int(self.region[i]): i for i, p in enumerate(self.space.points) if p.family == "precision"
        }
        ends, pairs, sizes = [], [], []
        for j, region in enumerate(regions):
            for i in (names[name] for name in region.predecessors if name in names):
                if i in precision or j in precision:
                    ends.append((precision.get(i, self.count), precision.get(j, self.count)))
                    pairs.append((i, j))
                    sizes.append(_edge_bytes(regions[i], region))
        shape = (len(ends), 2)
        return (
            np.array(ends, dtype=np.intp).reshape(shape),
            np.array(pairs, dtype=np.intp).reshape(shape),
            np.array(sizes, dtype=np.float64),
        )

    def _collect_arrivals(self) -> list[tuple[Codes, NDArray[np.bool_]]]:
        found: list[tuple[list[int], list[bool]]] = [([], []) for _ in range(self.count)]
        for e, (source, target) in enumerate(self.edges.tolist()):
            for here, other, consumes in ((target, source, True), (source, target, False)):
                if here < self.count and (other < here or other == self.count):
                    found[here][0].append(e)
                    found[here][1].append(consumes)
        return [(np.array(e, dtype=np.intp), np.array(c, dtype=np.bool_)) for e, c in found]


def _family(point: DecisionPoint) -> int:
    return FAMILIES.index(point.family)


def _edge_bytes(source: Region, target: Region) -> float:
    return float(min(source.output_bytes, target.input_bytes))


def _numbered(keys: Sequence[Hashable]) -> Codes:
    numbers: dict[Hashable, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[key] for key in keys], dtype=np.intp)
