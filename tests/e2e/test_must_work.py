"""Kinds of models that must work from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from tests.e2e import made
from tests.e2e.contract import check_result
from tests.e2e.made import value, weight
from tests.e2e.program import Program

BUDGET = ("--budget", 0, "--threads", 1, "-o", "out")
node = helper.make_node
RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


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


KINDS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    made_by.__name__: made_by
    for made_by in (
        opset_12, already_quantized, external_data, microsoft_operators, no_batch_axis, scalar_input,
        batch_on_axis_1,
    )
}  # fmt: skip


def optimized(edgeopt: Program, arrays: dict[str, np.ndarray], *arguments: object) -> dict[str, Any]:
    """Optimize `net.onnx` on these arrays; the result runs, and answers nearly as the original does."""
    np.savez(edgeopt.folder / "data.npz", **arrays)  # type: ignore[arg-type]
    ran = edgeopt.optimize("net.onnx", "--data", "data.npz", *arguments, *BUDGET)
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["failed"] == 0, ran.err
    best, original = edgeopt.folder / "out" / "best.onnx", edgeopt.folder / "net.onnx"
    before, after = made.interface(original), made.interface(best)
    assert [(name, kind) for name, kind, _ in after] == [(name, kind) for name, kind, _ in before]
    assert all(len(a[2]) == len(b[2]) for a, b in zip(after, before, strict=True))
    return dict(ran.document)


def outputs(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@pytest.mark.parametrize("kind", KINDS)
def test_works_from_end_to_end(edgeopt: Program, kind: str) -> None:
    arrays = KINDS[kind](edgeopt.folder / "net.onnx")
    document = optimized(edgeopt, arrays)
    shapes = {name: shape for name, _, shape in made.interface(edgeopt.folder / "out" / "best.onnx")}
    feeds = {
        name: np.asarray(array[0]) if array.ndim == len(shapes[name]) + 1 else array[0:1]
        for name, array in arrays.items()
    }
    for after, before in zip(
        outputs(edgeopt.folder / "out" / "best.onnx", feeds),
        outputs(edgeopt.folder / "net.onnx", feeds),
        strict=True,
    ):
        np.testing.assert_allclose(after, before, atol=0.25)
    assert document["verdict"] in ("improved", "reference", "original")


def test_one_of_two_inputs_is_fixed(edgeopt: Program) -> None:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "bias"], ["y"])]
    made.save(
        edgeopt.folder / "net.onnx",
        nodes,
        [value("x", ["n", 32]), value("bias", ["n", 4])],
        [value("y", ["n", 4])],
        [weight("w", 32, 4)],
    )
    document = optimized(edgeopt, {"x": normal(60, 32)}, "--fixed", "bias=0.5", "--shape", "bias=1,4")
    for trial in document["references"]:
        assert made.interface(Path(trial["artifact"]))[1] == ("bias", TensorProto.FLOAT, [1, 4])
