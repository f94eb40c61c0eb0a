"""The transformer family of rewrites together: the shipped example, every precision, siblings, opposites."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir
import pytest

from edgeopt.graph import equivalence, precision, rewriting
from edgeopt.graph.model import Model, freeze, load, to_bytes
from edgeopt.graph.regions import regions, tag
from edgeopt.testing.precision import Bench
from edgeopt.testing.rewrites import run
from tests.graph import networks
from tests.graph.made import model

EXAMPLE = Path(__file__).parents[2] / "examples" / "transformer" / "model.onnx"

FAMILY = frozenset({
    "fuse_layernorm", "fuse_gelu", "fuse_bias_gelu", "fuse_skip_layernorm", "fuse_attention", "merge_qkv",
    "fold_scale_into_matmul", "merge_constants", "reduce_strength", "eliminate_noops", "fold_constants",
})  # fmt: skip


def applied(frozen: Model, names: frozenset[str]) -> tuple[onnx_ir.Model, Counter[str]]:
    graph = frozen.ir.clone()
    tag(graph, regions(frozen))
    return graph, Counter(done.rewrite for done in rewriting.apply(graph, lambda name, _: name in names))


@pytest.fixture(scope="module")
def example() -> Model:
    return freeze(load(EXAMPLE), {"tokens": (1, 128)})


def test_the_example_is_fused_whole_and_computes_the_same(example: Model) -> None:
    graph, done = applied(example, FAMILY)
    assert done["fuse_layernorm"] == 5
    assert done["fuse_skip_layernorm"] == 5
    assert (done["fuse_attention"], done["merge_qkv"], done["fuse_gelu"]) == (2, 2, 2)
    operators = Counter(node.op_type for node in graph.graph)
    assert operators["MultiHeadAttention"] == 2
    assert not operators["Softmax"] + operators["Erf"] + operators["ReduceMean"]
    equivalence.check(example, to_bytes(graph), [], run, rtol=1e-4)


def test_what_was_fused_can_be_expanded_in_a_model_of_its_own(example: Model, tmp_path: Path) -> None:
    fused, _ = applied(example, frozenset({"fuse_attention", "fuse_layernorm"}))
    path = tmp_path / "fused.onnx"
    path.write_bytes(to_bytes(fused))
    again = freeze(load(path), {"tokens": (1, 128)})
    graph, done = applied(again, frozenset({"expand_attention", "expand_layernorm"}))
    assert (done["expand_attention"], done["expand_layernorm"]) == (2, 5)
    equivalence.check(example, to_bytes(graph), [], run, rtol=1e-4)


def test_opposites_enabled_together_come_to_rest(example: Model) -> None:
    both = frozenset({"fuse_attention", "expand_attention", "fuse_layernorm", "expand_layernorm"})
    _, done = applied(example, both)
    assert done == {"fuse_attention": 2, "fuse_layernorm": 5}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_sibling_products_becomes_one(tmp_path: Path, count: int) -> None:
    products = " ".join(f"h{i} = MatMul(x, w{i}) r{i} = Relu(h{i})" for i in range(count))
    weights = ", ".join(f"float[3,{i + 1}] w{i}" for i in range(count))
    total = "y = Concat <axis = 1> (" + ", ".join(f"r{i}" for i in range(count)) + ")"
    width = count * (count + 1) // 2
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    siblings (float[2,3] x) => (float[2,{width}] y) <{weights}> {{ {products} {total} }}"""
    frozen = networks.network(tmp_path, text)
    graph, done = applied(frozen, frozenset({"merge_qkv"}))
    assert done == {"merge_qkv": 1}
    assert Counter(node.op_type for node in graph.graph)["MatMul"] == 1
    equivalence.check(frozen, to_bytes(graph), [], run, rtol=1e-5)


@pytest.mark.parametrize("scheme", [name for name in precision.names() if name != precision.UNCHANGED])
def test_every_precision_builds_and_runs_after_all_of_them(tmp_path: Path, scheme: str) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.TRANSFORMER), tmp_path)
    candidate = bench.everywhere(scheme, rewrites="on")
    assert bench.error(candidate) < 0.25


def test_merged_siblings_are_quantized_by_the_ranges_of_their_parts(tmp_path: Path) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.TRANSFORMER), tmp_path)
    scheme = "int8_static_tensor"
    chosen = {point.site: scheme for point in bench.space.points if scheme in point.options}
    merged = {point.site: "on" for point in bench.space.points if point.name == "merge_qkv"}
    assert merged
    graph = onnx.load(bench.builder.build(bench.space.candidate(chosen | merged)).path).graph
    floats = {constant.name for constant in graph.initializer if constant.data_type == onnx.TensorProto.FLOAT}
    assert "Split" in {node.op_type for node in graph.node}
    assert not [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in floats]


def test_a_scaled_value_loses_the_name_that_its_range_was_kept_by(tmp_path: Path) -> None:
    frozen = model(
        tmp_path / "m.onnx",
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1, 2, 3, 4}, float[2] b = {1, 2}, float c = {8}>
        { m = MatMul(x, w) a = Add(m, b) s = Div(a, c) y = Relu(s) }""",
    )
    graph, _ = applied(frozen, frozenset({"fold_scale_into_matmul"}))
    assert [node.outputs[0].name for node in graph.graph] == ["m_scaled", "s", "y"]
