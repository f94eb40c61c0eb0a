"""Static int8: what the runtime makes of the files, where the pairs stand, and how exact they are."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from edgeopt.core.candidate import Candidate
from edgeopt.testing.precision import Bench, example
from tests.graph import networks

CHANNEL, TENSOR = "int8_static_channel", "int8_static_tensor"


def optimised(path: Path, folder: Path) -> Counter[str]:
    """Operators that onnxruntime executes, with int8 pairs as on ARM."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def graph(bench: Bench, candidate: Candidate) -> onnx.GraphProto:
    return onnx.load(bench.builder.build(candidate).path).graph


def bench(tmp_path: Path, text: str, *, unsigned: bool = False) -> Bench:
    return Bench.of(networks.network(tmp_path, text), tmp_path, unsigned=unsigned)


@pytest.mark.parametrize("scheme", [CHANNEL, TENSOR])
@pytest.mark.parametrize("unsigned", [False, True])
def test_an_all_int8_cnn_computes_nothing_in_float(scheme: str, unsigned: bool, tmp_path: Path) -> None:
    made = bench(tmp_path, networks.RESIDUAL, unsigned=unsigned)
    found = optimised(made.builder.build(made.everywhere(scheme)).path, tmp_path)
    assert found["QLinearConv"] == 5
    assert found["QLinearAdd"] == 1
    assert found["QLinearConcat"] == 1
    assert found["QGemm"] == 1
    assert not found.keys() & {"Conv", "FusedConv", "Add", "Relu", "Concat", "Gemm"}
    assert found["QuantizeLinear"] == 1
    assert found["DequantizeLinear"] == 0


def test_activations_are_asymmetric_int8_and_weights_symmetric(tmp_path: Path) -> None:
    made = bench(tmp_path, networks.RESIDUAL)
    found = graph(made, made.everywhere(CHANNEL))
    stored = {weight.name: numpy_helper.to_array(weight) for weight in found.initializer}
    quantizers = [node for node in found.node if node.op_type == "QuantizeLinear"]
    assert {stored[node.input[2]].dtype for node in quantizers} == {np.dtype("int8")}
    assert stored["w1__int8"].dtype == np.int8
    assert stored["w1__scale"].shape == (32,)
    assert not stored["w1__zero"].any()
    assert stored["Conv_0__bias"].dtype == np.int32
    np.testing.assert_allclose(
        stored["Conv_0__bias_scale"], stored["x__scale"] * stored["w1__scale"], rtol=1e-6
    )


def test_uint8_activations_are_the_same_numbers(tmp_path: Path) -> None:
    signed, unsigned = (bench(tmp_path, networks.RESIDUAL, unsigned=flag) for flag in (False, True))
    scales = []
    for made in (signed, unsigned):
        found = graph(made, made.everywhere(CHANNEL))
        scales.append({w.name: numpy_helper.to_array(w) for w in found.initializer})
    zero_points = [name for name in scales[0] if name.endswith("__zero_point")]
    assert zero_points
    for name in zero_points:
        assert int(scales[1][name]) - int(scales[0][name]) == 128
    assert all((scales[0][n] == scales[1][n]).all() for n in scales[0] if n.endswith("__scale"))


def test_a_tensor_between_int8_regions_has_one_pair(tmp_path: Path) -> None:
    made = bench(tmp_path, networks.RESIDUAL)
    found = graph(made, made.everywhere(TENSOR))
    quantized = [
        node.input[0].removesuffix("__float") for node in found.node if node.op_type == "QuantizeLinear"
    ]
    assert len(quantized) == len(set(quantized))
    readers = Counter(name for node in found.node for name in node.input)
    assert readers["r1"] == 2  # both branches read the one DequantizeLinear


def test_at_a_border_float_readers_of_a_float_tensor_do_not_see_the_pair(tmp_path: Path) -> None:
    made = bench(tmp_path, networks.RESIDUAL)
    sites = [p.site for p in made.space.points if p.family == "precision"]
    depthwise = next(site for site in sites if "Conv_2" in site)
    found = graph(made, made.space.candidate({depthwise: CHANNEL}))
    add = next(node for node in found.node if node.op_type == "Add")
    conv = next(node for node in found.node if node.op_type == "Conv" and "w2" in node.input[1])
    assert "r1" in add.input
    assert conv.input[0] == "dq_r1"


def test_it_is_as_accurate_and_as_small_as_onnxruntimes_own_quantizer(tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    made = bench(tmp_path, networks.RESIDUAL)
    samples = list(made.samples.samples())

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> object:
            return next(self.left, None)

    theirs = tmp_path / "theirs.onnx"
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            made.model.path, theirs, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    ours = made.builder.build(made.everywhere(CHANNEL)).path
    errors = []
    for path in (ours, theirs):
        sessions = [
            ort.InferenceSession(p, providers=["CPUExecutionProvider"]) for p in (path, made.model.path)
        ]
        pairs = [(sessions[0].run(None, feeds)[0], sessions[1].run(None, feeds)[0]) for feeds in samples]
        errors.append(sum(np.linalg.norm(a - b) for a, b in pairs) / sum(np.linalg.norm(b) for _, b in pairs))
    assert errors[0] <= 1.1 * errors[1]
    assert ours.stat().st_size <= 1.1 * theirs.stat().st_size


def test_a_large_bias_on_tiny_weights_does_not_overflow(tmp_path: Path) -> None:
    model = example(
        """<ir_version: 8, opset_import: ["": 13]>
        tiny (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1e-12, 0, 0, 0}, float[2] b = {3.0, -2.0}> { y = Conv(x, w, b) }""",
        tmp_path,
    )
    made = Bench.of(model, tmp_path)
    for scheme in (CHANNEL, TENSOR):
        assert made.error(made.everywhere(scheme)) < 0.01


@pytest.mark.parametrize(
    "body",
    [
        "v = Mul(w, s) y = Conv(x, v)",
        "y = Conv(w, x)",
        "t = Abs(x) a, i = MaxPool <kernel_shape = [1, 1]> (t) k = Cast <to = 1> (i) y = Mul(a, k)",
        "i = Cast <to = 7> (x) a = Add(i, i) y = Cast <to = 1> (a)",
        "y = Add(x, x)",
        "a = Identity(x) y = Concat <axis = 0> (a)",
    ],
    ids=["computed weight", "constant data", "indices read", "integers", "twice the same", "one input"],
)
def test_odd_graphs_give_valid_models(body: str, tmp_path: Path) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 13]>
    odd (float[4, 4, 1, 1] x, float s) => (float[4, 4, 1, 1] y) <float[4, 4, 1, 1] w> {{ {body} }}"""
    made = Bench.of(example(text, tmp_path), tmp_path)
    for scheme in (CHANNEL, TENSOR, "int8_dynamic", "float16_weights"):
        assert made.error(made.everywhere(scheme)) < 0.1


def test_recurrent_layers_are_dynamic_and_their_neighbours_static(tmp_path: Path) -> None:
    made = bench(tmp_path, networks.LSTM)
    found = Counter(node.op_type for node in graph(made, made.everywhere(CHANNEL)).node)
    assert found["DynamicQuantizeLSTM"] == 1
    assert found["QuantizeLinear"] > 0
    assert made.error(made.everywhere(CHANNEL)) < 0.1


def test_a_tensor_that_a_rewrite_made_takes_the_range_of_its_only_shape(tmp_path: Path) -> None:
    from edgeopt.graph.calibration import collect
    from edgeopt.graph.precision._edit import Edit
    from edgeopt.graph.precision._weights import Weights

    made = bench(tmp_path, networks.RESIDUAL)
    ranges = collect(made.model, made.samples)
    graph = made.model.ir.clone().graph
    pooled = next(node for node in graph if node.op_type == "GlobalAveragePool").outputs[0]
    expected = Edit(graph, ranges, Weights(), lambda _: CHANNEL).pairs.affine(pooled)
    pooled.name = "made_by_a_rewrite"  # Flatten alone reads it
    assert Edit(graph, ranges, Weights(), lambda _: CHANNEL).pairs.affine(pooled) == expected
    conv = next(node for node in graph if node.op_type == "Conv").outputs[0]
    conv.name = "made_too"  # Relu reads it: its range says nothing of what is below zero
    assert Edit(graph, ranges, Weights(), lambda _: CHANNEL).pairs.affine(conv) is None
