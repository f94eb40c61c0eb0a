"""How much noise each precision scheme adds in each region: what accuracy is predicted from before any trial.

The graph is cut between its regions: each reads what the unchanged model computes there, so that one pass
over the samples tells the noise of a scheme in all regions at once, apart from each other. Noise is the share
of an output's energy that is error, sum (q - x)^2 / sum (x - mean x)^2: to first order, noises add up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.files import write_atomically
from edgeopt.core.space import SearchSpace
from edgeopt.graph import precision
from edgeopt.graph.calibration import Feeds, Ranges, Runs, Samples
from edgeopt.graph.cutting import Cut, cut, fingerprints
from edgeopt.graph.model import Model
from edgeopt.graph.precision._arithmetic import MOST, MOST_7_BITS
from edgeopt.graph.precision._edit import Edit, drop_unused
from edgeopt.graph.precision._qdq import int8_readers
from edgeopt.graph.precision._weights import Weights
from edgeopt.graph.regions import region_of, tag
from edgeopt.graph.serialize import to_bytes
from edgeopt.graph.space import quantizable
from edgeopt.runtimes.onnxruntime import Session

FORMAT = 3
"""Of the cache file and of what is computed: part of its keys."""

SAMPLES = 8
"""Noise is a property of distributions: a few samples tell it within some per cent."""

OPTIONS: Mapping[str, object] = {"threads": 0, "graph_optimization_level": "basic"}

Noise = Mapping[str, Mapping[str, float]]
"""Scheme -> region -> relative noise of the region's outputs (0: none; 1: as strong as the signal)."""

Loader = Callable[[bytes, Mapping[str, object]], Runs]


def noise(
    model: Model,
    space: SearchSpace,
    ranges: Ranges,
    part: Samples,
    *,
    folder: Path | None = None,
    unsigned: bool = False,
    seven_bits: bool = False,
    session: Loader = Session,
) -> Noise:
    """The noise of every scheme in every region where it can be chosen.

    Args:
        model: Frozen.
        space: Of `model`.
        ranges: Calibrated on `model`.
        part: Calibration samples; the first `SAMPLES` are used.
        folder: Where figures are kept by the content of their region and of its inputs, so that what did not
            change is not computed again; None keeps nothing.
        unsigned: As candidates are built (`Builder`).
        seven_bits: Likewise.
        session: Loads a model.

    Returns:
        Nothing for a scheme that the runtime refuses, and for regions that cannot be cut out, or that the
        scheme changes only once a rewrite has given them weights.

    Raises:
        ModelError: The runtime refuses the unchanged model.
        CandidateFailed: It cannot compute a sample.
    """
    graph = model.ir.clone()
    tag(graph, space.regions)
    whole = quantizable(graph)
    apart = cut(whole)
    samples = list(islice(part.samples(), SAMPLES))
    exact = _exact(apart, samples, session)
    content = fingerprints(apart, exact, ranges.by_tensor)
    known = _Known(folder / "noise.json" if folder is not None else None)
    most = MOST_7_BITS if seven_bits else MOST
    found: dict[str, dict[str, float]] = {}
    for scheme, wanted in _asked(space).items():
        flow = _flow(whole, apart, ranges, scheme, frozenset(wanted))
        keys = {
            region: value_digest(FORMAT, scheme, unsigned, most, flow.of(apart, region), content[region])
            for region in wanted
            if region in content
        }
        new = frozenset(region for region, key in keys.items() if key not in known.figures)
        if new:
            known.figures |= {
                keys[region]: figure
                for region, figure in _measured(
                    apart, ranges, exact, scheme, new, flow, session, unsigned=unsigned, most=most
                ).items()
            }
        found[scheme] = {r: f for r, key in keys.items() if (f := known.figures.get(key)) is not None}
    known.save()
    return found


def _asked(space: SearchSpace) -> Mapping[str, list[str]]:
    """Scheme -> the regions that offer it."""
    asked: dict[str, list[str]] = {}
    known = frozenset(precision.names())
    for point in space.points:
        if point.family == "precision" and point.region:
            for option in point.options:
                # What only other runtimes have is not known here: it is learnt from trials.
                if option != precision.UNCHANGED and option in known:
                    asked.setdefault(option, []).append(point.region)
    return asked


@dataclass(frozen=True, slots=True)
class _Flow:
    """Where regions give int8 to each other: else a cheap node at a region's end would count as float32.

    Attributes:
        inflow: Names of inputs of the pieces that int8 nodes compute in the whole graph.
        outflow: Names of values that int8 nodes read there.
    """

    inflow: frozenset[str]
    outflow: frozenset[str]

    def of(self, apart: Cut, region: str) -> list[bool]:
        """What of it concerns a region, without names."""
        members = [node for node in apart.graph.graph if region_of(node) == region]
        read = [value is not None and str(value.name) in self.inflow for n in members for value in n.inputs]
        return read + [name in self.outflow for name in apart.outputs.get(region, ())]


def _flow(whole: ir.Model, apart: Cut, ranges: Ranges, scheme: str, wanted: frozenset[str]) -> _Flow:
    """As it is where all of the regions choose a scheme."""
    module = precision.scheme(scheme)
    if not module.STATIC:
        return _Flow(frozenset(), frozenset())
    graph = whole.clone().graph
    edit = Edit(
        graph,
        ranges,
        Weights(),
        lambda node: scheme if region_of(node) in wanted else precision.UNCHANGED,
    )
    read = {str(value.name) for node in int8_readers(edit) for value in node.inputs if value is not None}
    for node in tuple(graph):
        if edit.scheme_of(node) != precision.UNCHANGED and node.graph is not None:
            module.apply(node, edit)
    computed = edit.pairs.computed
    return _Flow(
        frozenset(name for name, source in apart.sources.items() if source in computed), frozenset(read)
    )


def _exact(apart: Cut, samples: Iterable[Feeds], session: Loader) -> list[dict[str, NDArray[np.generic]]]:
    """Of each sample, every value between regions as the unchanged model computes it, and its inputs."""
    loaded = session(to_bytes(apart.watched), OPTIONS)
    names = [str(value.name) for value in apart.watched.graph.outputs]
    return [{**feeds, **dict(zip(names, loaded.run(feeds), strict=True))} for feeds in samples]


def _measured(
    apart: Cut,
    ranges: Ranges,
    exact: Sequence[Mapping[str, NDArray[np.generic]]],
    scheme: str,
    wanted: frozenset[str],
    flow: _Flow,
    session: Loader,
    *,
    unsigned: bool,
    most: int,
) -> Mapping[str, float | None]:
    """One pass with a scheme in all wanted regions; None where a region's noise is not a number."""
    graph = apart.graph.clone()
    edit = Edit(
        graph.graph,
        Ranges(apart.renamed(ranges.by_tensor), ranges.count),
        Weights(),
        lambda node: scheme if region_of(node) in wanted else precision.UNCHANGED,
        unsigned=unsigned,
        most=most,
        inflow=flow.inflow,
        outflow=flow.outflow,
    )
    module = precision.scheme(scheme)
    changed = set()
    for node in tuple(graph.graph):
        if edit.scheme_of(node) != precision.UNCHANGED and node.graph is not None:
            region = region_of(node)
            if module.apply(node, edit):
                changed.add(region)
    drop_unused(graph.graph)
    try:
        loaded = session(to_bytes(graph), OPTIONS)
    except ModelError:
        return {}
    names = [str(value.name) for value in graph.graph.outputs]
    errors, signals = np.zeros(len(names)), np.zeros(len(names))
    for values in exact:
        try:
            outputs = loaded.run({**values, **apart.renamed(values)})
        except CandidateFailed:
            return {}
        for index, (name, noisy) in enumerate(zip(names, outputs, strict=True)):
            if noisy.dtype == np.float32 and noisy.size:
                true = values[name].astype(np.float64)
                errors[index] += float(((noisy.astype(np.float64) - true) ** 2).sum())
                signals[index] += float(((true - true.mean()) ** 2).sum())
    shares = dict(zip(names, _shares(errors, signals), strict=True))
    return {
        region: _highest([shares[name] for name in apart.outputs.get(region, ()) if name in shares])
        if region in changed
        else None
        for region in wanted
    }


def _shares(errors: NDArray[np.float64], signals: NDArray[np.float64]) -> list[float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(errors > 0, errors / signals, 0.0)
    return [float(share) for share in shares]


def _highest(shares: Sequence[float]) -> float | None:
    return max(shares) if shares and all(np.isfinite(shares)) else None


class _Known:
    """Figures by content, in a file; a damaged one is computed again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.figures: dict[str, float | None] = {}
        try:
            read = json.loads(path.read_bytes()) if path is not None else {}
            self.figures = {str(k): None if v is None else float(v) for k, v in read.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            pass
        self._before = dict(self.figures)

    def save(self) -> None:
        """Write what is new."""
        if self._path is not None and self.figures != self._before:
            write_atomically(self._path, json.dumps(self.figures, allow_nan=False).encode())
