"""Calibrates once: the range of every float tensor of a model, from which every candidate is built.

Reductions are appended to the frozen graph, so that only three numbers per tensor leave the session and the
host's memory stays that of one inference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.files import write_atomically
from edgeopt.graph.model import Model
from edgeopt.graph.serialize import to_bytes
from edgeopt.runtimes.onnxruntime import Session

Feeds = Mapping[str, NDArray[np.generic]]

FORMAT = 1
"""Of the cache file; part of its key."""

REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean")
"""The mean is there to see NaN, which minima and maxima may pass over."""

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
    """

    by_tensor: Mapping[str, tuple[float, float] | None]
    count: int

    def of(self, tensor: str) -> tuple[float, float] | None:
        """(low, high) of a tensor; None if it is unknown or not finite."""
        return self.by_tensor.get(tensor)

    @property
    def digest(self) -> str:
        """Of all ranges: part of every build key."""
        return value_digest(sorted(self.by_tensor.items()))


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
        content = {"by_tensor": dict(ranges.by_tensor), "count": ranges.count}
        write_atomically(cache, json.dumps(content, allow_nan=False).encode())
    return ranges


def _measure(
    model: Model, samples: Iterable[Feeds], session: Callable[[bytes, Mapping[str, object]], Runs]
) -> Ranges:
    watched = [str(value.name) for value in _float_tensors(model.ir.graph)]
    low, high, count = np.full(len(watched), np.inf), np.full(len(watched), -np.inf), 0
    loaded = session(to_bytes(instrumented(model.ir)), OPTIONS)
    for feeds in samples:
        outputs = loaded.run(feeds)
        found = np.array([float(value) for value in outputs[len(model.outputs) :]]).reshape(3, -1)
        spoilt = np.where(np.isfinite(found[2]), 0.0, np.nan)  # np.minimum and np.maximum keep a NaN
        low, high = np.minimum(low, found[0] + spoilt), np.maximum(high, found[1] + spoilt)
        count += 1
    if not count:
        raise DataError("the calibration part has no samples", hint="give more data, or --calibration")
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    usable = ((a, b) if math.isfinite(a) and math.isfinite(b) else None for a, b in pairs)
    return Ranges(dict(zip(watched, usable, strict=True)), count)


def instrumented(model: ir.Model) -> ir.Model:
    """A copy with `REDUCTIONS` of all float32 tensors as further scalar outputs, reduction by reduction."""
    copy = model.clone()
    watched = list(_float_tensors(copy.graph))
    for op_type in REDUCTIONS:
        for index, value in enumerate(watched):
            name = f"edgeopt_{op_type}_{index}"
            made = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(()))
            copy.graph.append(
                ir.node(op_type, [value], attributes={"keepdims": 0}, name=name, outputs=[made])
            )
            copy.graph.outputs.append(made)
    return copy


def _float_tensors(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs and intermediate values, in order; not those that may be empty (they have no minimum)."""
    computed = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *computed):
        if value.dtype == ir.DataType.FLOAT and isinstance(value.type, ir.TensorType) and value.name:
            sizes = value.shape if value.shape is not None else [None]
            if all(isinstance(size, int) and size > 0 for size in sizes):
                yield value


def _read(path: Path) -> Ranges | None:
    """A cached file; None if there is none or it is damaged: it is then measured again."""
    try:
        content = json.loads(path.read_bytes())
        pairs = {
            str(name): None if pair is None else (float(pair[0]), float(pair[1]))
            for name, pair in content["by_tensor"].items()
        }
        return Ranges(pairs, int(content["count"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
