"""Weights stored in few bits: what is written, how small it is, and that the runtime keeps it small."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeopt.graph.builder import Builder
from edgeopt.graph.calibration import collect
from edgeopt.graph.precision import _blocks as blocks
from edgeopt.graph.precision import _examples as examples
from edgeopt.testing.precision import MAX_IR, Bench, example
from tests.graph import networks


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_keep_every_weight_within_half_a_step(bits: int) -> None:
    rows = np.random.default_rng(0).standard_normal((7, 50)).astype(np.float32)
    levels, scale = blocks.quantize_rows(rows, bits)
    restored = ((levels.astype(np.float32) - 2 ** (bits - 1)) * scale[..., None]).reshape(7, -1)
    assert levels.shape == (7, 2, blocks.BLOCK)
    assert np.abs(restored[:, 50:]).max() == 0  # the padding is zero
    error = np.abs(restored[:, :50] - rows)
    step = np.repeat(np.abs(scale), blocks.BLOCK, axis=1)[:, :50]
    clipped = np.abs(rows) > step * (2 ** (bits - 1) - 1)
    assert (error[~clipped] <= 0.5001 * step[~clipped]).all()


def test_four_bits_round_better_than_the_full_range_would() -> None:
    rows = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    levels, scale = blocks.quantize_rows(rows, 4)
    restored = ((levels.astype(np.float32) - 8) * scale[..., None]).reshape(rows.shape)
    values = rows.reshape(64, -1, blocks.BLOCK)
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=2)[..., None], axis=2) / -8
    plain = (np.clip(np.rint(values / extreme), -8, 7) * extreme).reshape(rows.shape)
    assert np.linalg.norm(restored - rows) < 0.98 * np.linalg.norm(plain - rows)


def test_zero_and_tiny_blocks_stay_finite() -> None:
    rows = np.zeros((2, 64), np.float32)
    rows[1, :3] = 1e-40
    for bits in (4, 8):
        levels, scale = blocks.quantize_rows(rows, bits)
        assert np.isfinite(scale).all()
        assert (levels == 2 ** (bits - 1)).all()


def test_a_transformer_in_four_bits(tmp_path: Path) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.TRANSFORMER), tmp_path)
    found = operators(bench.builder.build(bench.everywhere("int4_weights")).path)
    assert found["MatMulNBits"] == 6
    assert found["GatherBlockQuantized"] == 1
    assert found["MatMul"] == 2  # of two activations


@pytest.mark.parametrize("text", [examples.GRU, examples.LSTM], ids=["GRU", "LSTM"])
def test_recurrent_weights_stay_int8_in_the_loaded_model(text: str, tmp_path: Path) -> None:
    bench = Bench.of(example(text, tmp_path), tmp_path)
    built = bench.builder.build(bench.everywhere("int8_weights"))
    assert built.size_bytes < 0.35 * bench.builder.build(bench.space.default()).size_bytes
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(built.path, options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "optimised.onnx").graph
    widened = [node for node in loaded.node if node.op_type == "DequantizeLinear"]
    assert len(widened) == 2
    kinds = {w.name: w.data_type for w in loaded.initializer}
    assert {kinds[node.input[0]] for node in widened} == {onnx.TensorProto.INT8}


def test_older_runtimes_get_no_operator_that_they_lack(tmp_path: Path) -> None:
    bench = Bench.of(example(examples.MLP, tmp_path), tmp_path)
    ranges = collect(bench.model, bench.samples)
    older = Builder(bench.model, bench.space, ranges, tmp_path / "older", 22, MAX_IR)
    built = older.build(bench.everywhere("int8_weights"))
    assert operators(built.path) == {"Gemm": 2, "Relu": 1, "DequantizeLinear": 2}
    expected = ort.InferenceSession(bench.model.path, providers=["CPUExecutionProvider"])
    found = ort.InferenceSession(built.path, providers=["CPUExecutionProvider"])
    for feeds in bench.samples.samples():
        y, y0 = (session.run(None, dict(feeds))[0] for session in (found, expected))
        assert np.linalg.norm(y - y0) < 0.02 * np.linalg.norm(y0)


@pytest.mark.parametrize("scheme", ["int4_weights", "int8_weights"])
def test_gemm_with_factors_a_transposed_weight_and_a_matrix_as_bias(scheme: str, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
    gemm (float[4, 64] x) => (float[4, 32] y) <float[32, 64] w, float[4, 32] c> {
        y = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, w, c)
    }"""
    bench = Bench.of(example(text, tmp_path), tmp_path)
    assert bench.error(bench.everywhere(scheme)) < 0.1
