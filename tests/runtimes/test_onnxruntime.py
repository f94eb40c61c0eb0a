"""ONNX Runtime: sessions, options, and which models it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeopt.core.errors import CandidateFailed, ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.runtimes import onnxruntime
from edgeopt.runtimes.onnxruntime import Session, runner_options, supported


def model(opset: int = 13, ir_version: int = 8, op: str = "Relu", domain: str = "") -> bytes:
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version).SerializeToString()


def test_a_session_runs_and_knows_its_tensors(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model())
    for source in (model(), tmp_path / "m.onnx"):
        session = Session(
            source, {"threads": 1, "graph_optimization_level": "basic", "allow_spinning": False}
        )
        assert session.inputs == (TensorSpec("x", "float32", (None, 2)),)
        assert session.outputs == (TensorSpec("y", "float32", (None, 2)),)
        (output,) = session.run({"x": np.array([[-1, 2]], np.float32), "unused": np.zeros(1)})
        np.testing.assert_array_equal(output, [[0, 2]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "onnxruntime refuses the model: "),
        (model(op="NoSuchOp"), "No Op registered for NoSuchOp"),
        (model(opset=99), "ONNX Runtime only"),
        (model(ir_version=99), "Unsupported model IR version: 99"),
    ],
)
def test_a_model_that_is_refused_is_a_short_model_error(content: bytes, message: str, capfd) -> None:
    with pytest.raises(ModelError) as refusal:
        Session(content)
    assert message in refusal.value.message
    assert len(refusal.value.message) < 350
    assert "\n" not in refusal.value.message
    assert "ONNXRuntimeError" not in refusal.value.message
    assert "onnxruntime::" not in refusal.value.message
    assert capfd.readouterr() == ("", "")


def test_inputs_that_do_not_fit_fail_the_candidate() -> None:
    session = Session(model())
    with pytest.raises(CandidateFailed, match="invalid dimensions"):
        session.run({"x": np.zeros((1, 3), np.float32)})
    with pytest.raises(CandidateFailed, match="input 'x' is missing"):
        session.run({})


def test_options_for_a_board_are_plain_values() -> None:
    assert runner_options({"threads": 2, "graph_optimization_level": "basic", "allow_spinning": False}) == {
        "intra_op_num_threads": 2,
        "inter_op_num_threads": 1,
        "graph_optimization_level": 1,
        "config": {"session.intra_op.allow_spinning": "0"},
    }
    assert runner_options({}) == {
        "intra_op_num_threads": 0,
        "inter_op_num_threads": 1,
        "graph_optimization_level": 99,
        "config": {"session.intra_op.allow_spinning": "1"},
    }


@pytest.mark.parametrize(
    "options",
    [
        {"threads": "2"},
        {"threads": -1},
        {"threads": True},
        {"graph_optimization_level": "most"},
        {"allow_spinning": "0"},
        {"thread": 2},
    ],
)
def test_an_option_that_would_be_ignored_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        runner_options(options)


def test_the_installed_runtime_takes_what_the_table_says_and_nothing_newer() -> None:
    opset, ir_version = supported(onnxruntime.version())
    Session(model(opset=opset, ir_version=ir_version))
    for newer in (model(opset=opset + 1), model(ir_version=ir_version + 1)):
        with pytest.raises(ModelError):
            Session(newer)


def test_the_table_never_takes_less_in_a_newer_release() -> None:
    known = [onnxruntime.SUPPORTED[release] for release in sorted(onnxruntime.SUPPORTED)]
    assert known == sorted(known)
    assert supported("1.99.0") == known[-1]
    assert supported("1.20.1+local") == (21, 10)


@pytest.mark.parametrize("version", ["1.15.1", "0.9", "nonsense", ""])
def test_versions_that_are_too_old_or_none_are_refused(version: str) -> None:
    with pytest.raises(ConfigError):
        supported(version)
