"""Calibrates once: range and histogram of every float tensor of a model, from which every candidate is built.

Reductions are appended to the frozen graph, and samples of at most `WATCHED_VALUES` per tensor, evenly
spread: so little leaves the session, and the host's memory stays near that of one inference."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.files import write_atomically
from edgeopt.graph.clipping import clipped
from edgeopt.graph.histogram import Histogram, Tally
from edgeopt.graph.model import Model
from edgeopt.graph.opset import at_least_opset
from edgeopt.graph.serialize import to_bytes
from edgeopt.runtimes.onnxruntime import Session

Feeds = Mapping[str, NDArray[np.generic]]

FORMAT = 2
"""Of the cache file; part of its key."""

REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean")
"""The mean is there to see NaN, which minima and maxima may pass over."""

WATCHED_VALUES = 1 << 14
"""Of one tensor in one inference that enter its histogram; its extremes are exact."""

_STEPS_OPSET = 10
"""From here on Slice has steps; older models that cannot be raised are calibrated by their extremes only."""

OPTIONS: Mapping[str, object] = {"threads": 0, "graph_optimization_level": "basic"}


class Runs(Protocol):
    """A loaded model (`runtimes.onnxruntime.Session`)."""

    def run(self, feeds: Feeds) -> list[NDArray[np.generic]]: ...


class Samples(Protocol):
    """The calibration part of the data (`data.split.Part`)."""

    @property
    def digest(self) -> str: ...

    def samples(self) -> Iterable[Feeds]: ...


@dataclass(frozen=True, slots=True)
class Ranges:
    """Smallest and largest value of every float32 tensor over the calibration samples.

    Attributes:
        by_tensor: None where a tensor was not finite: it cannot be quantized.
        count: Samples seen.
        histograms: Of those that are finite.
    """

    by_tensor: Mapping[str, tuple[float, float] | None]
    count: int
    histograms: Mapping[str, Histogram] = field(default_factory=dict)

    def of(self, tensor: str) -> tuple[float, float] | None:
        """(low, high) of a tensor; None if it is unknown or not finite."""
        return self.by_tensor.get(tensor)

    def clipped(self, method: str, bounded: Collection[str] = ()) -> Ranges:
        """The ranges by another method of `clipping.METHODS`.

        Args:
            bounded: Tensors without outliers: they keep their extremes, as those without a histogram do.
        """
        chosen = {
            name: clipped(method, self.histograms[name], *pair)
            if pair is not None and name in self.histograms and name not in bounded
            else pair
            for name, pair in self.by_tensor.items()
        }
        return replace(self, by_tensor=chosen)

    @property
    def digest(self) -> str:
        """Of all ranges and histograms: part of every build key."""
        kept = hashlib.sha256()
        for name, histogram in sorted(self.histograms.items()):
            for part in (name.encode(), histogram.buckets, histogram.counts):
                kept.update(len(part).to_bytes(8, "little") + part)
        return value_digest(sorted(self.by_tensor.items()), kept.hexdigest())


def collect(
    model: Model,
    part: Samples,
    *,
    folder: Path | None = None,
    session: Callable[[bytes, Mapping[str, object]], Runs] = Session,
) -> Ranges:
    """The ranges of all float32 tensors of a frozen model, in one pass over `part`.

    Args:
        folder: Where they are kept by model, shapes and samples, so that a resumed study calibrates no
            more; None keeps nothing.
        session: Loads a model.

    Raises:
        DataError: There is no sample.
        ModelError: The runtime refuses the model.
        CandidateFailed: It cannot compute a sample.
        EdgeoptError: The ranges cannot be written (disk full, permission).
    """
    shapes = [(spec.name, spec.shape) for spec in model.inputs]
    key = value_digest(FORMAT, model.digest, shapes, part.digest)[:32]
    cache = folder / f"ranges-{key}.json" if folder is not None else None
    if cache is not None and (known := _read(cache)) is not None:
        return known
    ranges = _measure(model, part.samples(), session)
    if cache is not None:
        write_atomically(cache, _written(ranges))
    return ranges


def _measure(
    model: Model, samples: Iterable[Feeds], session: Callable[[bytes, Mapping[str, object]], Runs]
) -> Ranges:
    watching, names = instrumented(model.ir)
    low, high, count = np.full(len(names), np.inf), np.full(len(names), -np.inf), 0
    tallies = [Tally() for _ in names]
    loaded = session(to_bytes(watching), OPTIONS)
    for feeds in samples:
        outputs = loaded.run(feeds)[len(model.outputs) :]
        reduced, watched = outputs[: len(REDUCTIONS) * len(names)], outputs[len(REDUCTIONS) * len(names) :]
        found = np.array([float(value) for value in reduced]).reshape(len(REDUCTIONS), -1)
        finite = np.isfinite(found[2])
        spoilt = np.where(finite, 0.0, np.nan)  # np.minimum and np.maximum keep a NaN
        low, high = np.minimum(low, found[0] + spoilt), np.maximum(high, found[1] + spoilt)
        for tally, values, is_finite in zip(tallies, watched, finite, strict=bool(watched)):
            if is_finite:
                tally.add(values)
        count += 1
    if not count:
        raise DataError("the calibration part has no samples", hint="give more data, or --calibration")
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    usable = ((a, b) if math.isfinite(a) and math.isfinite(b) else None for a, b in pairs)
    by_tensor = dict(zip(names, usable, strict=True))
    counted = zip(names, tallies, strict=True) if watched else ()
    return Ranges(
        by_tensor, count, {name: t.histogram() for name, t in counted if by_tensor[name] is not None}
    )


def instrumented(model: ir.Model) -> tuple[ir.Model, list[str]]:
    """A copy that gives more, and the names of the float32 tensors that it watches.

    Its further outputs are `REDUCTIONS` of all of them as scalars, reduction by reduction, then samples of
    their values (N,), where the operator set allows.
    """
    copy = model.clone()
    names = [str(value.name) for value in _float_tensors(copy.graph)]
    if copy.graph.opset_imports.get("", 1) < _STEPS_OPSET:
        copy = at_least_opset(copy, 13)
    by_name = {value.name: value for value in _float_tensors(copy.graph)}
    watched = [by_name[name] for name in names]
    for op_type in REDUCTIONS:
        for index, value in enumerate(watched):
            _add_output(copy.graph, op_type, [value], f"edgeopt_{op_type}_{index}", {"keepdims": 0})
    if copy.graph.opset_imports.get("", 1) >= _STEPS_OPSET:
        for index, value in enumerate(watched):
            _add_sample(copy.graph, value, f"edgeopt_sample_{index}")
    return copy, names


def _add_sample(graph: ir.Graph, value: ir.Value, name: str) -> None:
    """Every k-th value, where k is coprime to all sizes: no channel or column is passed over."""
    sizes = [size for size in value.shape or () if isinstance(size, int)]  # all of them: `_float_tensors`
    step = -(-math.prod(sizes) // WATCHED_VALUES)
    while step > 1 and any(math.gcd(step, size) > 1 for size in sizes):
        step += 1
    flat = _add_node(graph, "Reshape", [value, _integers(graph, f"{name}_flat", -1)], f"{name}_reshape", {})
    given = {"start": 0, "end": np.iinfo(np.int64).max, "axis": 0, "step": step}
    bounds = [_integers(graph, f"{name}_{what}", number) for what, number in given.items()]
    _add_output(graph, "Slice", [flat, *bounds], name, {})


def _add_output(
    graph: ir.Graph, op_type: str, inputs: Sequence[ir.Value], name: str, attributes: Mapping[str, int]
) -> None:
    made = _add_node(graph, op_type, inputs, name, attributes)
    made.type = ir.TensorType(ir.DataType.FLOAT)
    made.shape = ir.Shape(() if attributes else (None,))
    graph.outputs.append(made)


def _add_node(
    graph: ir.Graph, op_type: str, inputs: Sequence[ir.Value], name: str, attributes: Mapping[str, int]
) -> ir.Value:
    made = ir.Value(name=name)
    graph.append(ir.node(op_type, inputs, attributes=attributes, name=name, outputs=[made]))
    return made


def _integers(graph: ir.Graph, name: str, number: int) -> ir.Value:
    tensor = ir.Tensor(np.array([number], np.int64))
    value = ir.Value(
        name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape((1,)), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _float_tensors(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs and intermediate values, in order; not those that may be empty (they have no minimum)."""
    computed = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *computed):
        if value.dtype == ir.DataType.FLOAT and isinstance(value.type, ir.TensorType) and value.name:
            sizes = value.shape if value.shape is not None else [None]
            if all(isinstance(size, int) and size > 0 for size in sizes):
                yield value


def _written(ranges: Ranges) -> bytes:
    histograms = {
        name: [base64.b64encode(zlib.compress(part, 1)).decode() for part in (kept.buckets, kept.counts)]
        for name, kept in ranges.histograms.items()
    }
    content = {"by_tensor": dict(ranges.by_tensor), "count": ranges.count, "histograms": histograms}
    return json.dumps(content, allow_nan=False).encode()


def _read(path: Path) -> Ranges | None:
    """A cached file; None if there is none or it is damaged: it is then measured again."""
    try:
        content = json.loads(path.read_bytes())
        pairs = {
            str(name): None if pair is None else (float(pair[0]), float(pair[1]))
            for name, pair in content["by_tensor"].items()
        }
        histograms = {
            str(name): Histogram(*(zlib.decompress(base64.b64decode(part)) for part in parts))
            for name, parts in content["histograms"].items()
        }
        return Ranges(pairs, int(content["count"]), histograms)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, zlib.error):
        return None
