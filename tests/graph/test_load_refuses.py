"""Files that are refused: a short error of the right kind, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.graph.limits import Limits
from edgeopt.graph.model import load
from tests.graph.made import RELU, save

LIMITS = Limits()


def refused(path: Path, limits: Limits = LIMITS) -> ModelError:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ModelError) as caught:
        load(path, limits)
    assert sorted(path.parent.rglob("*")) == before
    assert caught.value.exit_code == 3
    assert len(caught.value.message.splitlines()) == 1
    return caught.value


@pytest.mark.parametrize(
    "content",
    [b"", b"ir_version: 8 graph { }", b"\x00" * 100, b"\x08\x08", b"\x0a\x03abc", os.urandom(4096)],
    ids=["empty", "text", "zeros", "no graph", "other protobuf", "random"],
)
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
def test_no_bytes_make_load_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load(path)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_byte_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    content = bytearray(onnx.parser.parse_model(RELU).SerializeToString())
    content[position % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    path.write_bytes(content)
    try:
        model = load(path)
    except ModelError:
        return
    assert model.outputs


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    path = save(tmp_path / "model.onnx", RELU)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such model file"):
        load(tmp_path / "nowhere.onnx")


def test_a_link_to_nowhere_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to(tmp_path / "gone.onnx")
    with pytest.raises(ConfigError, match="no such model file"):
        load(tmp_path / "model.onnx")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "folder" in refused(tmp_path).message


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    assert "regular file" in refused(tmp_path / "model.onnx").message


def test_over_2_gib_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as stream:
        stream.truncate(2**31 + 1)  # sparse: no disk is used
    assert "2.00 GiB" in refused(path).message


def test_more_nodes_than_the_limit_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", RELU)
    assert "nodes" in refused(path, Limits(max_nodes=0)).message


@pytest.mark.parametrize(
    ("suffix", "exporter"),
    [
        ("pt", "torch.onnx.export"),
        ("pth", "torch.onnx.export"),
        ("pt2", "torch.export.load"),
        ("safetensors", "optimum-cli export onnx"),
        ("h5", "format='onnx'"),
        ("keras", "format='onnx'"),
        ("pb", "tf2onnx.convert --graphdef"),
        ("tflite", "tf2onnx.convert --tflite"),
    ],
)
def test_other_frameworks_are_answered_with_the_line_that_exports(
    tmp_path: Path, suffix: str, exporter: str
) -> None:
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(b"anything")
    hint = refused(path).hint
    assert hint is not None
    assert exporter in hint
    assert str(path) in hint or str(path.parent) in hint
    assert "net" in hint


def test_the_hint_for_pytorch_is_valid_python(tmp_path: Path) -> None:
    for suffix in ("pt", "pth", "pt2", "h5", "keras"):
        path = tmp_path / f"net.{suffix}"
        path.write_bytes(b"anything")
        hint = refused(path).hint or ""
        code = hint.partition('python -c "')[2].rstrip('"')
        compile(code, suffix, "exec")
        assert '"' not in code  # or the shell would cut the line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RELU.replace('["": 17]', '["": 17, "my.ops": 1]').replace("Relu", "my.ops.Relu"), "my.ops"),
        (RELU.replace('["": 17]', '["": 999]'), "opset 999"),
        (RELU.replace("Relu", "Rleu"), "Rleu"),
        (RELU.replace("{ y = Relu(x) }", "{ y = Relu(z) }"), "z"),
        (RELU.replace("Relu(x)", "Relu(x, x)"), "valid"),
    ],
    ids=["unknown domain", "future opset", "unknown operator", "unknown value", "too many inputs"],
)
def test_what_cannot_run_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused(save(tmp_path / "model.onnx", text)).message


def test_an_unknown_domain_inside_a_branch_is_found(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "my.ops": 1]>
    branches (bool b, float[1] x) => (float[1] y) {
      y = If (b) <then_branch = a () => (float[1] p) { p = my.ops.Magic(x) },
                  else_branch = c () => (float[1] q) { q = Identity(x) }>
    }"""
    assert "my.ops" in refused(save(tmp_path / "model.onnx", text)).message


FUNCTIONS = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
call (float[1] x) => (float[1] y) { y = local.f0(x) }"""


def function(name: str, body: str) -> str:
    return f"""<opset_import: ["": 17, "local": 1], domain: "local"> {name} (v) => (w) {{ {body} }}"""


def test_functions_that_double_at_every_level_are_refused_before_they_are_inlined(tmp_path: Path) -> None:
    levels = [function(f"f{n}", f"a = local.f{n + 1}(v) w = local.f{n + 1}(a)") for n in range(40)]
    text = "\n".join([FUNCTIONS, *levels, function("f40", "w = Neg(v)")])
    assert f"{2**40} nodes" in refused(save(tmp_path / "model.onnx", text)).message


def test_functions_that_call_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = "\n".join([FUNCTIONS, function("f0", "w = local.f1(v)"), function("f1", "w = local.f0(v)")])
    assert "calls itself" in refused(save(tmp_path / "model.onnx", text)).message


def test_a_model_without_outputs_is_refused(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(RELU)
    del proto.graph.output[:]
    assert "no outputs" in refused(save(tmp_path / "model.onnx", proto)).message


def test_inputs_that_are_not_tensors_are_refused(tmp_path: Path) -> None:
    tensor = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [2])
    sequence = onnx.helper.make_sequence_type_proto(tensor)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("SequenceLength", ["s"], ["n"])],
        "sequences",
        [onnx.helper.make_value_info("s", sequence)],
        [onnx.helper.make_tensor_value_info("n", onnx.TensorProto.INT64, [])],
    )
    proto = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    assert "not a tensor" in refused(save(tmp_path / "model.onnx", proto)).message
