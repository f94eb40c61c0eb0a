"""What a file asks of a machine: counted for the nodes that onnxruntime executes, not for those written."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import ModelError
from edgeopt.core.workload import NodeCost
from edgeopt.graph.freeze import fix_inputs
from edgeopt.graph.workload import costs, workload
from tests.graph.mobilenet import mobilenet_v2

CONV = """<ir_version: 8, opset_import: ["" : 17]>
conv (float[1,4,8,8] x) => (float[1,6,8,8] y)
<float[6,4,1,1] w = {WEIGHTS}, float[6] b = {0,0,0,0,0,0}>
{ BODY }""".replace("WEIGHTS", ",".join(["1"] * 24))

QDQ = """<ir_version: 8, opset_import: ["" : 17]>
quantized (float[1,4,8,8] x) => (OUTPUT)
<float s = {0.1}, int8 z = {0}, int8[6,4,1,1] w = {WEIGHTS}>
{
  xq = QuantizeLinear(x, s, z)
  xd = DequantizeLinear(xq, s, z)
  wd = DequantizeLinear(w, s, z)
  BODY
}""".replace("WEIGHTS", ",".join(["1"] * 24))


def parsed(text: str) -> onnx_ir.Model:
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    return onnx_ir.from_proto(model)


def counted(text: str, *, fused: bool = True) -> dict[str, NodeCost]:
    return {cost.op_type: cost for cost in costs(parsed(text), fused=fused)}


def conv(body: str) -> str:
    return CONV.replace("BODY", body)


def qdq(body: str, output: str = "float[1,6,8,8] y") -> str:
    return QDQ.replace("BODY", body).replace("OUTPUT", output)


def test_a_convolution_costs_two_operations_per_multiply_add() -> None:
    cost = counted(conv("y = Conv(x, w, b)"))["Conv"]
    assert cost.flops == 2 * 6 * 8 * 8 * 4
    assert cost.read_bytes == 4 * (4 * 64 + 24 + 6)
    assert cost.write_bytes == 4 * 6 * 64
    assert cost.compute == "float32"


def test_an_activation_costs_nothing_where_the_runtime_fuses_it() -> None:
    text = conv("c = Conv(x, w, b) y = Relu(c)")
    assert list(counted(text)) == ["Conv"]
    assert list(counted(text, fused=False)) == ["Conv", "Relu"]


def test_an_activation_whose_input_others_read_is_not_fused() -> None:
    assert set(counted(conv("c = Conv(x, w, b) r = Relu(c) y = Add(c, r)"))) == {"Conv", "Relu", "Add"}


def test_constants_and_nodes_that_do_nothing_are_not_executed() -> None:
    text = conv("two = Constant<value_float = 2.0>() v = Mul(w, two) i = Identity(x) y = Conv(i, v, b)")
    assert list(counted(text)) == ["Conv"]


def test_float16_storage_is_float32_once_the_session_is_made() -> None:
    text = conv("h = Cast<to = 10>(w) f = Cast<to = 1>(h) y = Conv(x, f, b)")
    found = counted(text)
    assert (list(found), found["Conv"].compute) == (["Conv"], "float32")
    assert found["Conv"].read_bytes == 4 * (4 * 64 + 24 + 6)


def test_a_convolution_between_conversions_is_one_int8_kernel() -> None:
    found = counted(qdq("c = Conv(xd, wd) cq = QuantizeLinear(c, s, z) y = DequantizeLinear(cq, s, z)"))
    assert set(found) == {"QuantizeLinear", "Conv", "DequantizeLinear"}
    assert (found["Conv"].compute, found["Conv"].write_bytes) == ("int8", 6 * 64)
    assert found["Conv"].read_bytes == 4 * 64 + 24


def test_a_clamp_before_the_conversion_is_part_of_it() -> None:
    body = "c = Conv(xd, wd) r = Relu(c) rq = QuantizeLinear(r, s, z) y = DequantizeLinear(rq, s, z)"
    found = counted(qdq(body))
    assert set(found) == {"QuantizeLinear", "Conv", "DequantizeLinear"}
    assert found["Conv"].compute == "int8"


def test_two_kernels_in_a_row_pay_for_no_conversion_between_them() -> None:
    body = """c = Conv(xd, wd) cq = QuantizeLinear(c, s, z) cd = DequantizeLinear(cq, s, z)
    p = MaxPool<kernel_shape = [2, 2]>(cd) pq = QuantizeLinear(p, s, z) y = DequantizeLinear(pq, s, z)"""
    found = [cost.op_type for cost in costs(parsed(qdq(body, "float[1,6,7,7] y")), fused=True)]
    assert found == ["QuantizeLinear", "Conv", "MaxPool", "DequantizeLinear"]


def test_a_boundary_to_float_is_paid_for_as_traffic() -> None:
    body = """c = Conv(xd, wd) cq = QuantizeLinear(c, s, z) cd = DequantizeLinear(cq, s, z) y = Erf(cd)"""
    found = counted(qdq(body))
    assert found["DequantizeLinear"].read_bytes == pytest.approx(6 * 64, abs=8)
    assert found["DequantizeLinear"].write_bytes == 4 * 6 * 64


def test_a_convolution_that_answers_in_float_stays_float() -> None:
    found = counted(qdq("y = Conv(xd, wd)"))
    assert found["Conv"].compute == "float32"


def test_without_optimization_every_conversion_is_executed() -> None:
    text = qdq("c = Conv(xd, wd) cq = QuantizeLinear(c, s, z) y = DequantizeLinear(cq, s, z)")
    kinds = [cost.op_type for cost in costs(parsed(text), fused=False)]
    assert kinds.count("DequantizeLinear") == 3
    assert counted(text, fused=False)["Conv"].compute == "float32"


def test_dynamic_quantization_computes_in_int8() -> None:
    found = counted("""<ir_version: 8, opset_import: ["" : 17]>
    dynamic (float[5,4] x) => (int32[5,2] y) <int8[4,2] w = {1,1,1,1,1,1,1,1}, int8 z = {0}>
    { xq, s, xz = DynamicQuantizeLinear(x)
      y = MatMulInteger(xq, w, xz, z) }""")
    assert (found["MatMulInteger"].compute, found["MatMulInteger"].flops) == ("int8", 2 * 5 * 2 * 4)


def test_a_quantized_lstm_is_shaped_and_counted() -> None:
    h, i, steps = 3, 2, 5
    ones = ",".join(["1"] * i * 4 * h)
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    lstm (float[{steps},1,{i}] x) => (y)
    <int8[1,{i},{4 * h}] w = {{{ones}}}, int8[1,{h},{4 * h}] r = {{{",".join(["1"] * h * 4 * h)}}},
     float[1] s = {{1}}, int8[1] z = {{0}}>
    {{ y = com.microsoft.DynamicQuantizeLSTM<hidden_size = {h}>(x, w, r, , , , , , s, z, s, z) }}""")
    (cost,) = costs(onnx_ir.from_proto(model), fused=True)
    assert cost.flops == 2 * steps * 4 * h * (i + h)
    assert (cost.write_bytes, cost.compute) == (4 * steps * h, "int8")


@pytest.mark.parametrize("product", [
    "DynamicQuantizeMatMul(x, w, s)",
    "MatMulIntegerToFloat(q, w, s, s)",
    "FusedMatMul(x, f)",
    "FusedMatMul<transA = 1>(t, f)",
])  # fmt: skip
def test_what_follows_a_contributed_product_is_shaped(product: str) -> None:
    """onnxruntime itself says that the shapes are right."""
    text = f"""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    product (float[2,5,4] x, uint8[2,5,4] q, float[2,4,5] t) => (float[a,b,c] y)
    <int8[4,3] w = {{{",".join(["1"] * 12)}}}, float[4,3] f = {{{",".join(["1"] * 12)}}}, float s = {{1}}>
    {{ p = com.microsoft.{product} r = Relu(p) y = com.microsoft.{product} }}"""
    model = onnx.parser.parse_model(text)
    found = costs(onnx_ir.from_proto(model), fused=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
    (answer,) = session.run(None, {i.name: np.ones(i.shape, types[i.type]) for i in session.get_inputs()})
    kinds = [cost.op_type for cost in found]
    relu, last = found[kinds.index("Relu")], found[-1]
    assert relu.write_bytes == last.write_bytes == answer.nbytes
    assert last.flops == 2 * answer.size * 4
    assert (last.compute == "int8") is ("Integer" in product or "Quantize" in product)


def test_two_quantized_lstms_in_a_row_are_shaped() -> None:
    h, steps = 2, 5
    ones = ",".join(["1"] * h * 4 * h)
    lstm = f"com.microsoft.DynamicQuantizeLSTM<hidden_size = {h}>"
    found = counted(f"""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
    lstms (float[{steps},1,{h}] x) => (float[a,b,c,d] y)
    <int8[1,{h},{4 * h}] w = {{{ones}}}, float[1] s = {{1}}, int8[1] z = {{0}}, int64[1] one = {{1}}>
    {{ first = {lstm}(x, w, w, , , , , , s, z, s, z) flat = Squeeze(first, one)
       y = {lstm}(flat, w, w, , , , , , s, z, s, z) }}""")
    assert found["DynamicQuantizeLSTM"].write_bytes == 4 * steps * h


def test_a_lookup_reads_the_rows_that_it_takes_and_a_reshape_reads_nothing() -> None:
    found = counted("""<ir_version: 8, opset_import: ["" : 17]>
    lookup (int64[3] i, float[1000,8] table) => (float[24] y)
    { rows = Gather(table, i) flat = Constant<value_ints = [24]>() y = Reshape(rows, flat) }""")
    assert found["Gather"].read_bytes == 4 * 3 * 8 + 8 * 3
    assert found["Reshape"].read_bytes + found["Reshape"].write_bytes == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        odd (float[4] x) => (float[4] y) { y = com.microsoft.NeverHeardOf(x) }""", "NeverHeardOf"),
        ("""<ir_version: 8, opset_import: ["" : 17]>
        open (float[4] x) => (int64[1,n] y) { y = NonZero(x) }""", "not known"),
        ("""<ir_version: 8, opset_import: ["" : 17]>
        branch (bool c, float[4] x) => (float[4] y)
        { y = If(c) <then_branch = t () => (float[4] a) { a = Neg(x) },
                     else_branch = e () => (float[4] b) { b = Abs(x) }> }""", "If"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused_and_not_guessed(text: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        costs(onnx_ir.from_proto(onnx.parser.parse_model(text)), fused=True)


@pytest.mark.parametrize("batchnorm", [False, True])
def test_mobilenet_v2_costs_what_its_paper_says(batchnorm: bool) -> None:
    found = costs(onnx_ir.from_proto(mobilenet_v2(batchnorm=batchnorm)), fused=True)
    products = [cost for cost in found if cost.op_type in ("Conv", "Gemm")]
    assert sum(cost.flops for cost in products) == 2 * 300_774_272
    assert len(found) == 52 + 10 + 1 + 1 + 1  # Conv, Add, GlobalAveragePool, Flatten, Gemm


def test_a_file_is_counted_with_the_options_of_its_session(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(mobilenet_v2(64), path)
    artifact = Artifact("key", path, "sha", path.stat().st_size)
    basic = Artifact("key", path, "sha", 1, session_options={"graph_optimization_level": "basic"})
    assert len(workload(artifact, {})) < len(workload(basic, {}))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot read"):
        workload(Artifact("key", tmp_path / "m.onnx", "sha", 1), {})


OPEN_BATCH = """<ir_version: 8, opset_import: ["" : 17]>
open (float[n,4] a, float[n,4] b) => (float[n,2] y) <float[4,2] w = {1,1,1,1,1,1,1,1}>
{ s = Sub(a, b) y = MatMul(s, w) }"""


def open_batch(folder: Path) -> Artifact:
    onnx.save(onnx.parser.parse_model(OPEN_BATCH), folder / "m.onnx")
    return Artifact("key", folder / "m.onnx", "sha", 1)


def test_sizes_that_the_file_leaves_open_are_those_of_the_inputs(tmp_path: Path) -> None:
    for batch in (1, 3):
        found = workload(open_batch(tmp_path), {"a": (batch, 4), "b": (batch, 4)})
        assert [cost.flops for cost in found] == [4 * batch, 2 * batch * 2 * 4]


def test_an_input_that_is_not_given_shares_the_sizes_of_those_that_are(tmp_path: Path) -> None:
    model = parsed(OPEN_BATCH)
    fix_inputs(model, {"a": (3, 4)})
    assert [list(value.shape or ()) for value in model.graph.inputs] == [[3, 4], [3, 4]]


@pytest.mark.parametrize(
    ("shapes", "complaint"),
    [
        ({}, "not known"),
        ({"a": (1, 4), "c": (1, 4)}, "no input 'c'"),
        ({"a": (1, 5), "b": (1, 4)}, "contradicts"),
        ({"a": (1, 4), "b": (2, 4)}, "share the size"),
    ],
)
def test_inputs_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        workload(open_batch(tmp_path), shapes)


def test_the_runtime_executes_about_as_many_nodes_as_foreseen(tmp_path: Path) -> None:
    """The foreseen fusions are onnxruntime's own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    model = mobilenet_v2(64, batchnorm=True)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    executed = len(onnx.load(tmp_path / "optimized.onnx").graph.node)
    foreseen = len(costs(onnx_ir.from_proto(model), fused=True))
    assert executed == pytest.approx(foreseen, abs=12)  # Add fuses into Conv in this runtime


def test_weights_are_told_apart_from_activations() -> None:
    cost = counted(conv("c = Conv(x, w, b) y = Relu(c)"))["Conv"]
    assert cost.weight_bytes == 4 * (24 + 6)
    assert cost.read_bytes - cost.weight_bytes == 4 * 4 * 64
