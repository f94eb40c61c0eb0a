"""What the runtime makes of static int8: no stray pair, and nothing in float32 that could have been int8."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from edgeopt.graph import rewriting
from edgeopt.graph.model import freeze, load
from edgeopt.graph.precision import _examples as examples
from edgeopt.resources import resource
from edgeopt.testing.precision import Bench, example
from tests.graph import networks

STATIC = ("int8_static_channel", "int8_static_tensor")
INTEGER = frozenset({
    "Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Add", "Concat", "AveragePool",
    "GlobalAveragePool", "Sigmoid", "LeakyRelu", "Relu", "Clip", "MaxPool", "Pad", "Resize", "Reshape",
    "Slice", "Split", "Squeeze", "Unsqueeze", "Flatten", "DepthToSpace", "Expand",
})  # fmt: skip
"""What computes on int8, or moves it. Mul does, too, but not as half of HardSwish; Transpose, too, but the
runtime inserts some itself where it changes layouts."""


def optimised(path: Path, folder: Path, *, unsigned: bool) -> onnx.GraphProto:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    if not unsigned:
        options.add_session_config_entry("session.qdqisint8allowed", "1")  # as on ARM
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx").graph


def float_islands(graph: onnx.GraphProto) -> Counter[str]:
    """Nodes that read only what was int8, and whose results are only made int8 again; `pair` for none."""
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            source = producers.get(node.input[0])
            if source is not None and source.op_type == "DequantizeLinear":
                found["pair"] += 1
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        given = [producers.get(name) for name in node.input if name in producers]
        taken = [user for name in node.output for user in readers.get(name, ())]
        if (
            given
            and taken
            and all(p is not None and p.op_type == "DequantizeLinear" for p in given)
            and all(user.op_type == "QuantizeLinear" for user in taken)
        ):
            found[node.op_type] += 1
    return found


def float_segments(graph: onnx.GraphProto) -> list[Counter[str]]:
    """Operators of each group of connected float32 nodes that reads only int8 and gives only int8."""
    producers = {name: node for node in graph.node for name in node.output}
    constants = {constant.name for constant in graph.initializer}
    ends = {id(node) for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    open_, group = set[int](), {id(node): {id(node)} for node in graph.node if id(node) not in ends}
    nodes = {id(node): node for node in graph.node}
    given = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.input:
            source = producers.get(name)
            if id(node) in ends:
                if source is not None and node.op_type == "DequantizeLinear":
                    open_.add(id(source))  # it computes integers
            elif source is None or source.op_type == "QuantizeLinear":
                open_ |= {id(node)} if name and name not in constants else set()
            elif source.op_type != "DequantizeLinear":
                joined = group[id(node)] | group[id(source)]
                group.update(dict.fromkeys(joined, joined))
    open_ |= {id(node) for node in graph.node if given.intersection(node.output)}
    groups = {min(members): members for members in group.values()}.values()
    return [Counter(nodes[member].op_type for member in members) for members in groups if not members & open_]


PRODUCTS = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})


@pytest.mark.parametrize(
    ("family", "unsigned"),
    [("cnn", False), ("cnn", True), ("fnn", True), ("rnn", True), ("transformer", True)],
)
def test_examples_have_no_stray_pair_and_no_float_inside_int8(
    family: str, unsigned: bool, tmp_path: Path
) -> None:
    model = load(resource(f"examples/{family}/model.onnx"))
    shapes = {"features": (1, 16), "tokens": (1, 128)}
    frozen = freeze(model, {spec.name: shapes[spec.name] for spec in model.inputs if spec.name in shapes})
    bench = Bench.of(frozen, tmp_path, unsigned=unsigned)
    chosen = {
        point.site: STATIC[0] if point.family == "precision" else "on"
        for point in bench.space.points
        if STATIC[0] in point.options or (point.family == "rewrite" and rewriting.is_usual(str(point.name)))
    }
    built = bench.builder.build(bench.space.candidate(chosen))
    found = optimised(built.path, tmp_path, unsigned=unsigned)
    operators = Counter(node.op_type for node in found.node)
    assert not operators.keys() & PRODUCTS, operators
    assert sum(operators[name] for name in ("QLinearConv", "QLinearMatMul", "QGemm")) >= 4
    assert not float_islands(found).keys() & (INTEGER | {"Mul", "pair"})
    assert not [each for each in float_segments(found) if each.keys() <= INTEGER | {"Mul"}]


def test_a_float_segment_of_two_nodes_is_seen() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (uint8[2] x) => (uint8[2] y, float[2] z)
    <float s = {1.0}, uint8 o = {0}, float[2] c = {1, 2}> {
      f = DequantizeLinear(x, s, o) a = Relu(f) b = Add(a, c) y = QuantizeLinear(b, s, o)
      d = DequantizeLinear(x, s, o) z = Neg(d) }"""
    assert float_segments(onnx.parser.parse_model(text).graph) == [Counter(Relu=1, Add=1)]


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("scheme", STATIC)
@pytest.mark.parametrize("kind", networks.ALL)
def test_networks_have_no_float_inside_int8(kind: str, scheme: str, unsigned: bool, tmp_path: Path) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.ALL[kind]), tmp_path, unsigned=unsigned)
    built = bench.builder.build(bench.everywhere(scheme, "on"))
    found = float_islands(optimised(built.path, tmp_path, unsigned=unsigned))
    assert not found.keys() & (INTEGER | {"Mul", "pair"}), found


PADDED = """<ir_version: 8, opset_import: ["": 13]>
padded (float[1, 16, 8, 8] x) => (float[1, 16, 16, 16] y)
<float[16, 16, 3, 3] w, float[16, 16, 3, 3] v, float[16, 16, 1, 1] u, int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1},
 float[4] s = {1, 1, 2, 2}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    b = LeakyRelu(a)
    c = Pad(b, p)
    d = Conv(c, v)
    e = Resize <mode = "nearest"> (d, , s)
    y = Conv(e, u)
}"""


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("scheme", STATIC)
def test_padding_resizing_and_activations_stay_integers(scheme: str, unsigned: bool, tmp_path: Path) -> None:
    bench = Bench.of(example(PADDED, tmp_path), tmp_path, unsigned=unsigned)
    candidate = bench.everywhere(scheme)
    found = optimised(bench.builder.build(candidate).path, tmp_path, unsigned=unsigned)
    operators = Counter(node.op_type for node in found.node)
    assert operators["QLinearConv"] == 3
    assert operators["QuantizeLinear"] == operators["QLinearLeakyRelu"] == 1
    assert not operators.keys() & {"Conv", "LeakyRelu"}
    assert not float_islands(found)
    assert bench.error(candidate) < 0.05


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_padding_with_copies_stays_integers(mode: str, unsigned: bool, tmp_path: Path) -> None:
    text = PADDED.replace("= Pad(b, p)", f'= Pad <mode = "{mode}"> (b, p)')
    bench = Bench.of(example(text, tmp_path), tmp_path, unsigned=unsigned)
    candidate = bench.everywhere(STATIC[0])
    found = optimised(bench.builder.build(candidate).path, tmp_path, unsigned=unsigned)
    operators = Counter(node.op_type for node in found.node)
    assert (operators["QLinearConv"], operators["Pad"], operators["QuantizeLinear"]) == (3, 1, 1)
    assert not float_islands(found)
    assert bench.error(candidate) < 0.05


def test_an_activation_that_a_rewrite_moved_before_a_pooling_is_folded(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]> g (float[1,16,8,8] x) => (float[1,16,4,4] y)
    <float[16,16,3,3] w, float[16,16,1,1] v> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w)
      b = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
      c = Relu(b)
      y = Conv(c, v) }"""
    bench = Bench.of(example(text, tmp_path), tmp_path, unsigned=True)
    chosen = {
        p.site: STATIC[0] if p.family == "precision" else "on"
        for p in bench.space.points
        if STATIC[0] in p.options or p.name == "activation_before_maxpool"
    }
    candidate = bench.space.candidate(chosen)
    found = optimised(bench.builder.build(candidate).path, tmp_path, unsigned=True)
    operators = Counter(node.op_type for node in found.node)
    assert (operators["QLinearConv"], operators["QuantizeLinear"], operators["Relu"]) == (2, 1, 0), operators
    assert not float_islands(found)
    assert bench.error(candidate) < 0.05


@pytest.mark.parametrize("scheme", STATIC)
def test_magika_quantizes_products_but_no_written_out_layers(scheme: str, tmp_path: Path) -> None:
    """GELU and LayerNormalization are chains of Mul and Add there; 8 bits cost a tenth of the accuracy."""
    spec = find_spec("magika")
    assert spec is not None, "magika is missing: pip install --no-deps -r tests/models.txt"
    assert spec.origin is not None
    path = Path(spec.origin).parent / "models" / "standard_v3_3" / "model.onnx"
    bench = Bench.of(freeze(load(path), {"bytes": (1, 2048)}), tmp_path, unsigned=True)
    built = bench.builder.build(bench.everywhere(scheme))
    found = optimised(built.path, tmp_path, unsigned=True)
    operators = Counter(node.op_type for node in found.node)
    assert operators["QLinearConv"] == 1
    assert operators["MatMulIntegerToFloat"] + operators["QLinearMatMul"] == 2
    assert not operators.keys() & {"QLinearMul", "QLinearAdd"}
    assert not float_islands(found).keys() & (INTEGER | {"Mul", "pair"})
    assert built.size_bytes < 0.3 * path.stat().st_size


def test_silero_vad_ends_smaller_with_its_convolutions_static_and_its_lstm_dynamic(tmp_path: Path) -> None:
    spec = find_spec("silero_vad")
    assert spec is not None, "silero-vad is missing: pip install --no-deps -r tests/models.txt"
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    shapes = {"input": (16, 576), "h": (1, 1, 128), "c": (1, 1, 128)}
    bench = Bench.of(freeze(load(path), shapes), tmp_path, unsigned=True)
    chosen = {}
    for point in (p for p in bench.space.points if p.family == "precision"):
        static = STATIC[0] in point.options
        recurrent = any(r.name == point.region and "LSTM" in r.op_types for r in bench.space.regions)
        if static or recurrent:
            chosen[point.site] = "int8_dynamic" if recurrent else STATIC[0]
    built = bench.builder.build(bench.space.candidate(chosen))
    found = optimised(built.path, tmp_path, unsigned=True)
    operators = Counter(node.op_type for node in found.node)
    assert operators["DynamicQuantizeLSTM"] == 1
    assert operators["QLinearConv"] >= 5
    assert not float_islands(found).keys() & (INTEGER | {"Mul", "pair"})
    assert built.size_bytes < 0.3 * path.stat().st_size


def test_int16_activations_would_compute_in_float(tmp_path: Path) -> None:
    """Why there is no scheme of 16-bit activations: the runtime has no such kernel, only conversions."""
    text = examples.MLP.replace("13", "21").replace("ir_version: 8", "ir_version: 10")
    text = text.replace(
        "h = Gemm(x, w1, b1)",
        """xq = QuantizeLinear(x, s, z)
    xd = DequantizeLinear(xq, s, z)
    h0 = MatMul(xd, w1)
    hq = QuantizeLinear(h0, s, z)
    h = DequantizeLinear(hq, s, z)""",
    )
    text = text.replace("float[96] b1", "float s = {0.001}, int16 z = {0}")
    model = example(text, tmp_path)
    operators = Counter(node.op_type for node in optimised(model.path, tmp_path, unsigned=True).node)
    assert operators["MatMul"] == 1
    assert operators["QuantizeLinear"] == 2
