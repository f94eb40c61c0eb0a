"""Golden inputs and outputs: what a device computes to see that the model works there.

The inputs are a few real samples of the study. The outputs are those of the runtime on this machine. How far
a device may be off is measured, too: the same model is run here with its kernels chosen otherwise (no graph
optimization; without XNNPACK). Where both agree but for rounding, a device has to as well; where they differ
by more, kernels round between layers (int8), and a device's kernels may do so in their own way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import CandidateFailed, EdgeoptError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.field.manifest import Tolerance
from edgeopt.runtimes import litert, onnxruntime

Array = NDArray[Any]

RTOL = 1e-3
ROUNDING = 1e-4
"""Of an output's largest magnitude: what float32 kernels differ by, and a few orders more. Rounding through a
deep network leaves about 1e-5; a step of an int8 output is 4e-3."""
FLOAT_ATOL, QUANTIZED_ATOL = 1e-3, 1e-2
"""Least tolerance, of an output's largest magnitude: a wrong result is off by far more."""
MARGIN = 4.0
"""Other kernels may differ from both that were tried by more than these do from each other."""


class Session(Protocol):
    """What both runtimes offer."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: Mapping[str, Array]) -> list[Array]: ...


@dataclass(frozen=True, slots=True)
class Golden:
    """What a model computes here.

    Attributes:
        inputs: Of the model, as the runtime names them.
        results: By output, first axis = samples.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    results: Mapping[str, Array]
    tolerance: Tolerance


def golden(model: Path, runtime: str, options: Mapping[str, object], samples: Mapping[str, Array]) -> Golden:
    """Run the golden inputs here.

    Args:
        options: edgeopt's session options.
        samples: By input, first axis = samples; `array[i]` is what one inference is fed.

    Raises:
        ModelError: The runtime refuses the model, or cannot compute these inputs.
        ConfigError: The runtime is not installed here.
    """
    try:
        session = _session(model, runtime, options)
        results = _run(session, samples)
        others = _run(_session(model, runtime, _otherwise(runtime, options)), samples)
    except CandidateFailed as error:
        raise ModelError(f"{model}: {error.message}") from error
    names = [spec.name for spec in session.outputs]
    return Golden(
        session.inputs,
        session.outputs,
        dict(zip(names, results, strict=True)),
        tolerance(names, results, others),
    )


def tolerance(names: Sequence[str], results: Sequence[Array], others: Sequence[Array]) -> Tolerance:
    """What to allow, from how far two ways to compute the same differ."""
    atol = {name: _atol(result, other) for name, result, other in zip(names, results, others, strict=True)}
    return Tolerance(RTOL, atol, _agreement(results[0], others[0], atol[names[0]]))


def _atol(result: Array, other: Array) -> float | None:
    if result.dtype.kind != "f":
        return 0.0 if np.array_equal(result, other) else None
    finite = np.isfinite(result) & np.isfinite(other)
    largest = float(np.abs(result[finite]).max(initial=0.0))
    spread = float(np.abs(result[finite].astype(np.float64) - other[finite]).max(initial=0.0))
    least = FLOAT_ATOL if spread <= ROUNDING * largest else QUANTIZED_ATOL
    return float(f"{max(MARGIN * spread, least * largest, np.finfo(np.float32).tiny):.3g}")


def _agreement(result: Array, other: Array, atol: float | None) -> float | None:
    """Share of samples whose class no kernel decides: its lead is larger than what kernels differ by."""
    if atol is None or result.dtype.kind != "f" or result.ndim < 2 or result.shape[-1] < 2:
        return None
    if result[0].size != result.shape[-1]:
        return None  # not one answer for each sample
    rows, there = result.reshape(len(result), -1), other.reshape(len(other), -1)
    ordered = np.sort(rows, axis=1)
    is_clear = (ordered[:, -1] - ordered[:, -2] > 2 * atol) & (rows.argmax(axis=1) == there.argmax(axis=1))
    return float(is_clear.mean())


def _run(session: Session, samples: Mapping[str, Array]) -> list[Array]:
    if missing := [spec.name for spec in session.inputs if spec.name not in samples]:
        raise CandidateFailed(f"there are no golden inputs for {missing[0]!r}")
    count = len(next(iter(samples.values())))
    runs = [session.run({name: array[i] for name, array in samples.items()}) for i in range(count)]
    return [np.stack(each) for each in zip(*runs, strict=True)]


def _session(model: Path, runtime: str, options: Mapping[str, object]) -> Session:
    kinds: Mapping[str, type[onnxruntime.Session | litert.Session]] = {
        onnxruntime.NAME: onnxruntime.Session,
        litert.NAME: litert.Session,
    }
    if runtime not in kinds:
        raise EdgeoptError(f"{model}: unknown runtime {runtime!r}")
    return kinds[runtime](model, options)


def _otherwise(runtime: str, options: Mapping[str, object]) -> dict[str, object]:
    """The same model through other kernels."""
    if runtime == litert.NAME:
        return dict(options) | {"xnnpack": not options.get("xnnpack", True)}
    is_off = options.get("graph_optimization_level") == "disable"
    return dict(options) | {"graph_optimization_level": "all" if is_off else "disable"}
