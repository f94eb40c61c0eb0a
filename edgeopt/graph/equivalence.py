"""Checks that a rewritten model computes what the original does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from edgeopt.core.errors import RewriteError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.runtimes.feeding import fed, values_of

if TYPE_CHECKING:
    from edgeopt.graph.model import Model

Feeds = Mapping[str, NDArray[np.generic]]
Run = Callable[[bytes, Feeds], Sequence[NDArray[np.generic]]]
"""Computes the outputs of a model, given as the content of its file."""

RTOL = 1e-3
"""Largest error allowed, relative to the largest magnitude of an output.

Rounding of float32 through a deep network leaves about 1e-5; a wrong rewrite is off by far more than 1e-3.
"""

RANDOM_SAMPLES = 2
_INTEGERS_BELOW = 2  # 0 and 1 are valid indices, lengths, masks and token numbers of nearly every model


def check(
    original: Model,
    rewritten: bytes,
    samples: Iterable[Feeds],
    run: Run,
    *,
    fixed: Feeds | None = None,
    rtol: float = RTOL,
    seed: int = 0,
) -> None:
    """Compare the outputs of two models on random inputs and on samples.

    Where the rewritten file takes its inputs otherwise (`graph.interface`), both get the same ones, each as
    it takes them; random bytes, where it takes bytes.

    Args:
        original: Frozen.
        rewritten: Content of the rewritten file.
        samples: Real inputs, such as a few of the calibration data; may be empty.
        run: Runs a model.
        fixed: Inputs that only take certain values (a sample rate): random ones would be refused.
        rtol: Error allowed per output, relative to its largest magnitude.
        seed: Of the random inputs.

    Raises:
        RewriteError: The checker refuses the rewritten model, or an output differs; names the output and the
            worst error.
    """
    from edgeopt.graph.interface import interface_in
    from edgeopt.graph.serialize import to_bytes

    check_file(rewritten)
    interface = interface_in(rewritten)
    levels = {change.name: change.levels for change in interface if change.levels is not None}
    before = to_bytes(original.ir)
    names = [spec.name for spec in original.outputs]
    randoms = (
        {**feeds, **(fixed or {})} for feeds in random_feeds(original.inputs, RANDOM_SAMPLES, seed, levels)
    )
    for feeds in (*randoms, *samples):
        compare(names, run(before, feeds), run(rewritten, fed(interface, feeds)), rtol)


def check_file(content: bytes) -> None:
    """Run `onnx.checker` over the content of a file.

    Raises:
        RewriteError: It is not a valid model.
    """
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
        onnx.checker.check_model(proto)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RewriteError(f"the rewritten model is not valid: {reason}") from error


def compare(
    names: Sequence[str],
    expected: Sequence[NDArray[np.generic]],
    actual: Sequence[NDArray[np.generic]],
    rtol: float,
) -> None:
    """Compare outputs: integers and bools exactly, floats within `rtol` of the largest magnitude.

    Infinities and NaN must be at the same places.

    Raises:
        RewriteError: Names the output and its worst error.
    """
    if len(expected) != len(actual):
        raise RewriteError(f"the rewritten model has {len(actual)} outputs instead of {len(expected)}")
    for name, before, after in zip(names, expected, actual, strict=True):
        if before.shape != after.shape or before.dtype != after.dtype:
            raise RewriteError(
                f"output {name!r} was {before.dtype}{list(before.shape)}, is {after.dtype}{list(after.shape)}"
            )
        error = worst_error(before, after)
        if not error <= (rtol if before.dtype.kind == "f" else 0):
            raise RewriteError(
                f"output {name!r} changed: worst error {error:.3g} of its largest magnitude, allowed {rtol:g}"
            )


def worst_error(expected: NDArray[np.generic], actual: NDArray[np.generic]) -> float:
    """Largest difference over the largest finite magnitude; infinite where NaN or infinities move."""
    if expected.dtype.kind not in "fc":
        return 0.0 if np.array_equal(expected, actual) else float("inf")
    before, after = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(before)
    if (
        not np.array_equal(before[~finite], after[~finite], equal_nan=True)
        or not np.isfinite(after[finite]).all()
    ):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = float(np.abs(before[finite]).max())
    difference = float(np.abs(before[finite] - after[finite]).max())
    return difference / scale if scale > 0 else difference


def random_feeds(
    inputs: Sequence[TensorSpec], count: int, seed: int, levels: Mapping[str, Levels] | None = None
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Random inputs of a frozen model: floats are standard normal, integers 0 or 1, bytes 0 to 255.

    Args:
        levels: By input, the bytes that its values are made of: then they are values of random bytes.
    """
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield {spec.name: _random(spec, generator, (levels or {}).get(spec.name)) for spec in inputs}


def _random(spec: TensorSpec, generator: np.random.Generator, levels: Levels | None) -> NDArray[np.generic]:
    shape = tuple(size or 1 for size in spec.shape)
    if levels is not None:
        pixels = np.asarray(generator.integers(0, 256, shape), np.uint8)
        return np.asarray(values_of(levels, pixels, spec.dtype))
    if spec.dtype == "object":
        return np.full(shape, "a", dtype=object)
    kind = np.dtype(spec.dtype)
    if kind.kind == "b":
        return np.asarray(generator.integers(0, 2, shape), kind)
    if kind.kind in "iu":
        high = 256 if kind == np.uint8 else 128 if kind == np.int8 else _INTEGERS_BELOW
        return np.asarray(generator.integers(0, high, shape), kind)
    return np.asarray(generator.standard_normal(shape)).astype(kind)
