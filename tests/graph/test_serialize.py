"""Files as old runtimes read them: lowest IR version, fewest operator sets, written wholly or not at all."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir
import pytest

from edgeopt.core.errors import EdgeoptError, ModelError
from edgeopt.graph.model import check_supported, load, serialize, to_bytes
from edgeopt.graph.regions import regions, tag
from edgeopt.graph.serialize import needed_ir_version
from tests.graph.made import RELU, model, save


def reread(graph: onnx_ir.Model) -> onnx.ModelProto:
    return onnx.load_model_from_string(to_bytes(graph))


@pytest.mark.parametrize(
    ("opset", "ir_version"), [(7, 4), (9, 4), (12, 7), (13, 7), (17, 8), (18, 8), (19, 9), (21, 10), (23, 11)]
)
def test_the_ir_version_is_the_lowest_of_the_opset(tmp_path: Path, opset: int, ir_version: int) -> None:
    text = RELU.replace("17", str(opset)).replace("ir_version: 8", f"ir_version: {max(8, ir_version)}")
    assert reread(load(save(tmp_path / "m.onnx", text)).ir).ir_version == ir_version


def test_4_bit_weights_need_ir_10(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    g (float[2] x) => (float[2] y) <float scale = {0.5}> {
      q = QuantizeLinear <output_dtype = 22> (x, scale) y = DequantizeLinear(q, scale) }"""
    frozen = model(tmp_path / "m.onnx", text)
    frozen.ir.graph.opset_imports[""] = 17  # as if only the type asked for it
    assert needed_ir_version(frozen.ir) == 10


def test_operator_sets_that_no_node_uses_are_left_out(tmp_path: Path) -> None:
    text = RELU.replace('["": 17]', '["": 17, "com.microsoft": 1, "ai.onnx.ml": 3]')
    found = reread(load(save(tmp_path / "m.onnx", text)).ir)
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", 17)]


def test_our_own_metadata_does_not_leave_the_host(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", RELU)
    tag(frozen.ir, regions(frozen))
    next(iter(frozen.ir.graph)).metadata_props["theirs"] = "kept"
    (node,) = reread(frozen.ir).graph.node
    assert [(entry.key, entry.value) for entry in node.metadata_props] == [("theirs", "kept")]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", RELU)
    assert to_bytes(load(path).ir) == to_bytes(load(path).ir)


def test_a_file_is_written_wholly_or_not_at_all(tmp_path: Path) -> None:
    loaded = load(save(tmp_path / "m.onnx", RELU))
    folder = tmp_path / "out"
    folder.mkdir()
    serialize(loaded.ir, folder / "best.onnx")
    assert [path.name for path in folder.iterdir()] == ["best.onnx"]
    (folder / "taken").mkdir()
    with pytest.raises(EdgeoptError, match="taken"):
        serialize(loaded.ir, folder / "taken")
    assert sorted(path.name for path in folder.iterdir()) == ["best.onnx", "taken"]


def test_a_runtime_that_is_too_old_is_named_with_what_the_model_needs(tmp_path: Path) -> None:
    loaded = load(save(tmp_path / "m.onnx", RELU))
    check_supported(loaded.ir, max_opset=17, max_ir=8, runtime="onnxruntime 1.14 on kitchen-pi")
    with pytest.raises(ModelError) as caught:
        check_supported(loaded.ir, max_opset=16, max_ir=8, runtime="onnxruntime 1.12 on kitchen-pi")
    assert "opset 17" in caught.value.message
    assert "onnxruntime 1.12 on kitchen-pi reads at most opset 16" in caught.value.message
