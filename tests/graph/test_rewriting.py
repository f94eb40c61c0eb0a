"""The engine: rewrites only where they are enabled, in their order, with names and regions kept."""

from __future__ import annotations

from pathlib import Path

import onnx_ir
import pytest

from edgeopt.graph import rewriting
from edgeopt.graph.equivalence import check_file
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.regions import region_of, regions, tag
from edgeopt.testing.precision import example
from edgeopt.testing.rewrites import run
from tests.graph.made import model
from tests.graph.mobilenet import mobilenet_v2

NORM = "float[2] g = {2, 1}, float[2] b = {1, 0}, float[2] m = {0, 1}, float[2] v = {1, 4}"
CHAIN = f"""<ir_version: 8, opset_import: ["": 17]>
chain (float[1,2,3,3] x) => (float[1,2,3,3] y)
  <float[2,2,1,1] w = {{1, 2, 3, 4}}, {NORM}>
{{
  [one] c1 = Conv(x, w)
  [same] i1 = Identity(c1)
  [norm1] n1 = BatchNormalization(i1, g, b, m, v)
  [act1] r1 = Relu(n1)
  [two] c2 = Conv(r1, w)
  [norm2] y = BatchNormalization(c2, g, b, m, v)
}}"""


def tagged(frozen: Model) -> onnx_ir.Model:
    copy = frozen.ir.clone()
    tag(copy, regions(frozen))
    return copy


def operators(graph: onnx_ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


def keeps_the_interface(name: str, _: str) -> bool:
    return rewriting.changes(name) is None


def test_nothing_enabled_changes_nothing(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", CHAIN)
    graph = tagged(frozen)
    assert rewriting.apply(graph, lambda *_: False) == []
    assert to_bytes(graph) == to_bytes(frozen.ir)


def test_a_rewrite_is_made_only_in_its_region(tmp_path: Path) -> None:
    graph = tagged(model(tmp_path / "m.onnx", CHAIN))
    done = rewriting.apply(graph, lambda name, region: (name, region) == ("fold_batchnorm", "two"))
    assert done == [rewriting.Application("fold_batchnorm", "two", ("norm2", "two"))]
    assert operators(graph) == ["Conv", "Identity", "BatchNormalization", "Relu", "Conv"]
    assert [region_of(node) for node in graph.graph] == ["one"] * 4 + ["two"]


def test_one_rewrite_opens_the_way_for_another(tmp_path: Path) -> None:
    graph = tagged(model(tmp_path / "m.onnx", CHAIN))
    done = rewriting.apply(graph, keeps_the_interface)
    assert [(each.rewrite, each.region) for each in done] == [
        ("eliminate_noops", "one"),
        ("fold_batchnorm", "one"),
        ("fold_batchnorm", "two"),
    ]
    assert operators(graph) == ["Conv", "Relu", "Conv"]
    assert [node.name for node in graph.graph] == ["one", "act1", "two"]


def test_a_shared_weight_is_not_changed_for_its_other_reader(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", CHAIN)
    graph = tagged(frozen)
    rewriting.apply(graph, lambda _, region: region == "one")
    second = graph.graph.node("two")
    assert second.inputs[1] is not None
    assert second.inputs[1].name == "w"


def test_replaced_values_keep_their_names(tmp_path: Path) -> None:
    graph = tagged(model(tmp_path / "m.onnx", CHAIN))
    rewriting.apply(graph, keeps_the_interface)
    assert [node.outputs[0].name for node in graph.graph] == ["n1", "r1", "y"]


def test_weights_that_nothing_reads_any_more_are_removed(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", CHAIN)
    graph = tagged(frozen)
    rewriting.apply(graph, keeps_the_interface)
    assert sorted(graph.graph.initializers) == ["n1_bias", "n1_weight", "y_bias", "y_weight"]
    assert sorted(frozen.ir.graph.initializers) == ["b", "g", "m", "v", "w"]


def test_what_was_dead_before_is_left_alone(tmp_path: Path) -> None:
    text = CHAIN.replace("[two]", "[dead] unused = Neg(r1) [two]").replace(
        "w = {", "spare = {1, 2, 3, 4}, float[2,2,1,1] w = {"
    )
    graph = tagged(model(tmp_path / "m.onnx", text))
    rewriting.apply(graph, keeps_the_interface)
    assert "Neg" in operators(graph)
    assert "spare" in graph.graph.initializers


def test_gemms_that_share_a_weight_share_it_as_convolutions(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    steps (float[1,8] x) => (float[1,8] y) <float[8,8] w, float[8] b> {
      h = Gemm(x, w, b) t = Tanh(h) y = Gemm(t, w, b)
    }"""
    graph = tagged(example(text, tmp_path))
    rewriting.apply(graph, lambda name, _: name == "gemm_to_conv")
    convs = [node for node in graph.graph if node.op_type == "Conv"]
    assert len(convs) == 2
    assert [tuple(convs[0].inputs[1:])] * 2 == [tuple(conv.inputs[1:]) for conv in convs]


def test_applicable_counts_what_others_open_and_what_each_can_do_alone(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", CHAIN)
    found = regions(frozen)
    assert rewriting.applicable(frozen, found).counts == {
        "batchnorm_relu_to_max": {"two": 1},  # where fold_batchnorm is left out
        "eliminate_noops": {"one": 1},
        "fold_batchnorm": {"one": 1, "two": 1},
    }


def test_applicable_leaves_the_model_alone(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", CHAIN)
    before = to_bytes(frozen.ir)
    rewriting.applicable(frozen, regions(frozen))
    assert to_bytes(frozen.ir) == before


def test_nothing_inside_control_flow_is_rewritten(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (bool b, float[2] x) => (float[2] y) {
      y = If (b) <then_branch = t () => (float[2] p) { i = Identity(x) p = Neg(i) },
                  else_branch = e () => (float[2] q) { q = Identity(x) }>
    }"""
    frozen = model(tmp_path / "m.onnx", text)
    graph = tagged(frozen)
    assert rewriting.apply(graph, keeps_the_interface) == []
    assert to_bytes(graph) == to_bytes(frozen.ir)


def test_a_value_that_a_branch_reads_is_not_lost(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (bool b, float[2] x) => (float[2] y) {
      n = Neg(x)
      i = Identity(n)
      y = If (b) <then_branch = t () => (float[2] p) { p = Abs(i) },
                  else_branch = e () => (float[2] q) { q = Neg(i) }>
    }"""
    import numpy as np

    frozen = model(tmp_path / "m.onnx", text)
    graph = tagged(frozen)
    assert len(rewriting.apply(graph, keeps_the_interface)) == 1
    feeds = {"b": np.asarray(True), "x": np.asarray([1, -2], np.float32)}
    assert run(to_bytes(graph), feeds)[0].tolist() == [1, 2]


def test_refusals_say_where_and_why(tmp_path: Path) -> None:
    text = CHAIN.replace("[act1] r1 = Relu(n1)", "[act1] r1 = Add(n1, c1)")
    graph = tagged(
        model(tmp_path / "m.onnx", text.replace("[same] i1 = Identity(c1)", "[same] i1 = Abs(c1)"))
    )
    text = text.replace("BatchNormalization(i1", "BatchNormalization(c1")
    graph = tagged(model(tmp_path / "m.onnx", text))
    refused = [each for each in rewriting.refusals(graph) if each.rewrite == "fold_batchnorm"]
    assert [(each.region, each.node) for each in refused] == [("one", "norm1")]
    assert "read elsewhere" in refused[0].reason


def test_rewrites_are_exact_unless_they_say_otherwise() -> None:
    approximate = {name for name in rewriting.in_order() if not rewriting.is_exact(name)}
    assert {name for name in approximate if not name.startswith("approximate_")} == {"mask_safe"}
    assert [rewriting.load(name).ORDER for name in rewriting.in_order()] == sorted(
        rewriting.load(name).ORDER for name in rewriting.in_order()
    )


@pytest.mark.parametrize("batchnorm", [True, False])
def test_mobilenet_v2_is_rewritten_wholly(tmp_path: Path, batchnorm: bool) -> None:
    graph = tagged(model(tmp_path / "m.onnx", mobilenet_v2(64, batchnorm=batchnorm)))
    done = rewriting.apply(graph, keeps_the_interface)
    assert len([each for each in done if each.rewrite == "fold_batchnorm"]) == (52 if batchnorm else 0)
    assert "BatchNormalization" not in operators(graph)


def test_a_scale_inside_a_hard_swish_stays_with_it(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1,1,4,4] x) => (float[1,1,4,4] y)
      <float three = {3}, float zero = {0}, float six = {6}, float[1,1,1,1] w = {2}>
    {
      a = Add(x, three)
      c = Clip(a, zero, six)
      m = Mul(x, c)
      d = Div(m, six)
      y = Conv(d, w)
    }"""
    graph = tagged(model(tmp_path / "m.onnx", text))
    rewriting.apply(graph, lambda name, _: rewriting.is_usual(name))
    assert operators(graph) == ["HardSwish", "Conv"]


def test_opposite_rewrites_do_not_undo_each_other_for_ever(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1,2,4,4] x, float[1,2,4,4] u) => (float[1,4,4,4] y)
      <float[2,2,1,1] v = {-1, 2, 0.5, 4}, float[2,2,1,1] w = {1, 2, 3, 4}>
    {
      p = Conv(x, v)
      q = Conv(x, w)
      c = Concat <axis = 1> (p, u)
      s = Concat <axis = 1> (q, u)
      y = Add(c, s)
    }"""
    graph = tagged(model(tmp_path / "m.onnx", text))
    done = rewriting.apply(graph, lambda name, _: rewriting.is_exact(name))
    assert [each.rewrite for each in done].count("merge_parallel_convs") == 1
    assert "split_merged_conv" not in [each.rewrite for each in done]


def test_an_output_keeps_its_shape_where_inference_did_not_tell_that_of_what_takes_over(
    tmp_path: Path,
) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) {
      r = Relu(x)
      d = Cast <to = 11> (r)
      y = Cast <to = 1> (d) }"""
    graph = tagged(model(tmp_path / "m.onnx", text))
    graph.graph[0].outputs[0].shape = None
    rewriting.apply(graph, lambda name, _: name == "merge_casts")
    assert operators(graph) == ["Relu"]
    check_file(to_bytes(graph))
