"""Kinds of models that must work from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from tests.e2e import made
from tests.e2e.contract import check_result
from tests.e2e.made import value, weight
from tests.e2e.program import Program

BUDGET = ("--budget", 0, "--threads", 1, "-o", "out")
node = helper.make_node


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def opset_12(path: Path) -> dict[str, np.ndarray]:
    made.classifier(path, opset=12)
    return {"x": normal(60, 32)}


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._left = iter([{"x": normal(1, 32)} for _ in range(8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def already_quantized(path: Path) -> dict[str, np.ndarray]:
    plain = made.classifier(path.with_name("plain.onnx"))
    quantize_static(plain, path, Samples(), weight_type=QuantType.QInt8)
    return {"x": normal(60, 32)}


def external_data(path: Path) -> dict[str, np.ndarray]:
    proto = onnx.load(made.classifier(path.with_name("plain.onnx")))
    onnx.save_model(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    assert path.with_name("weights.bin").stat().st_size > 1000
    return {"x": normal(60, 32)}


def microsoft_operators(path: Path) -> dict[str, np.ndarray]:
    made.save(
        path,
        [
            node("FusedMatMul", ["x", "w"], ["a"], domain="com.microsoft", alpha=0.5),
            node("Gelu", ["a"], ["b"], domain="com.microsoft"),
            node("MatMul", ["b", "v"], ["y"]),
        ],
        [value("x", [1, 32])],
        [value("y", [1, 4])],
        [weight("w", 32, 64), weight("v", 64, 4)],
        domains=("com.microsoft",),
    )
    return {"x": normal(60, 32)}


def no_batch_axis(path: Path) -> dict[str, np.ndarray]:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Tanh", ["a"], ["b"]), node("MatMul", ["b", "v"], ["y"])]
    made.save(path, nodes, [value("x", [32])], [value("y", [4])], [weight("w", 32, 64), weight("v", 64, 4)])
    return {"x": normal(60, 32)}


def scalar_input(path: Path) -> dict[str, np.ndarray]:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Mul", ["a", "gain"], ["y"])]
    made.save(
        path, nodes, [value("x", [1, 32]), value("gain", [])], [value("y", [1, 4])], [weight("w", 32, 4)]
    )
    return {"x": normal(60, 32), "gain": normal(60)}


def batch_on_axis_1(path: Path) -> dict[str, np.ndarray]:
    weights = [weight("w", 1, 4 * 16, 8), weight("r", 1, 4 * 16, 16), weight("v", 16, 4)]
    axes = numpy_helper.from_array(np.array([0, 1]), "axes")
    nodes = [
        node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=16),
        node("Squeeze", ["h", "axes"], ["a"]),
        node("MatMul", ["a", "v"], ["y"]),
    ]
    made.save(path, nodes, [value("x", ["time", "batch", 8])], [value("y", [4])], [*weights, axes])
    return {"x": normal(60, 12, 1, 8)}


def two_inputs(path: Path) -> dict[str, np.ndarray]:
    """Of which one is fixed, see FLAGS."""
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "bias"], ["y"])]
    inputs = [value("x", ["n", 32]), value("bias", ["n", 4])]
    made.save(path, nodes, inputs, [value("y", ["n", 4])], [weight("w", 32, 4)])
    return {"x": normal(60, 32)}


KINDS: tuple[Callable[[Path], dict[str, np.ndarray]], ...] = (
    opset_12, already_quantized, external_data, microsoft_operators, no_batch_axis, scalar_input,
    batch_on_axis_1, two_inputs,
)  # fmt: skip
FLAGS = {"two_inputs": ("--fixed", "bias=0.5", "--shape", "bias=1,4")}


def outputs(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_works_from_end_to_end(inside: Program, make: Callable[[Path], dict[str, np.ndarray]]) -> None:
    """The result has the original's interface and answers nearly as it does."""
    folder, kind = inside.folder, make.__name__
    arrays = make(folder / "net.onnx")
    np.savez(folder / "data.npz", **arrays)  # type: ignore[arg-type]
    ran = inside.optimize("net.onnx", "--data", "data.npz", *FLAGS.get(kind, ()), *BUDGET)
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["failed"] == 0, ran.err
    original, best = folder / "net.onnx", folder / "out" / "best.onnx"
    for trial in [*ran.document["references"], ran.document["best"]]:
        for (name, type_, shape), now in zip(
            made.interface(original), made.interface(Path(trial["artifact"])), strict=True
        ):
            assert now[:2] == (name, type_)
            assert all(size in (0, was) or not was for size, was in zip(now[2], shape, strict=True))
    ranks = {name: len(shape) for name, _, shape in made.interface(best)}
    feeds = {
        name: np.asarray(array[0]) if array.ndim == ranks[name] + 1 else array[0:1]
        for name, array in arrays.items()
    }
    if kind == "two_inputs":
        feeds["bias"] = np.full((1, 4), 0.5, np.float32)
    for now, before in zip(outputs(best, feeds), outputs(original, feeds), strict=True):
        np.testing.assert_allclose(now, before, atol=0.25)
