"""LiteRT: sessions, options, and which models it takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeopt.core.errors import CandidateFailed, ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.runtimes import litert
from edgeopt.runtimes.litert import Session, runner_options, supported

FILES = Path(__file__).parent.parent / "fixtures" / "litert"
CONV = FILES / "conv.tflite"
FEEDS = {"img": np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)}


def test_a_session_runs_and_knows_its_tensors() -> None:
    for source in (CONV, CONV.read_bytes()):
        session = Session(source, {"threads": 2})
        assert session.inputs == (TensorSpec("img", "float32", (1, 8, 8, 3)),)
        assert session.outputs == (
            TensorSpec("feat", "float32", (1, 4, 8, 8)),
            TensorSpec("y", "float32", (1, 4)),
        )
        feature, mean = session.run(FEEDS | {"unused": np.zeros(1)})
        np.testing.assert_allclose(feature.mean((2, 3)), mean, rtol=1e-4, atol=1e-6)


def test_answers_of_one_run_are_not_overwritten_by_the_next() -> None:
    session = Session(CONV)
    first = session.run(FEEDS)
    kept = [answer.copy() for answer in first]
    session.run({"img": -FEEDS["img"]})
    np.testing.assert_array_equal(first[1], kept[1])


def test_the_reference_kernels_compute_what_xnnpack_does() -> None:
    fast, plain = (Session(CONV, {"xnnpack": choice}) for choice in (True, False))
    for one, other in zip(fast.run(FEEDS), plain.run(FEEDS), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_delegated_operators_tell_whether_xnnpack_is_on() -> None:
    names = [
        {op["op_name"] for op in Session(CONV, {"xnnpack": choice})._interpreter._get_ops_details()}
        for choice in (True, False)
    ]
    assert "DELEGATE" in names[0]
    assert "DELEGATE" not in names[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk", "it is not a TensorFlow Lite file"),
        (b"\x1c\0\0\0TFL3", "not a valid Flatbuffer"),
        (CONV.read_bytes()[:-100], "not a valid Flatbuffer"),
        ((FILES / "custom.tflite").read_bytes(), "unresolved custom op: ONNX_DET"),
    ],
)
def test_a_model_that_is_refused_is_a_short_model_error(content: bytes, message: str) -> None:
    with pytest.raises(ModelError) as refusal:
        Session(content)
    assert refusal.value.message.startswith("LiteRT refuses the model: ")
    assert message in refusal.value.message
    assert "\n" not in refusal.value.message
    assert ".cc:" not in refusal.value.message
    assert "http" not in refusal.value.message


@pytest.mark.parametrize(
    "feeds", [{"img": np.zeros((1, 3), np.float32)}, {"img": np.zeros((1, 8, 8, 3))}, {}]
)
def test_inputs_that_do_not_fit_fail_the_candidate(feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(CandidateFailed, match=r"'img' is missing|Cannot set tensor"):
        Session(CONV).run(feeds)


def test_options_for_a_board_are_plain_values() -> None:
    assert runner_options({"threads": 2, "xnnpack": False}) == {"num_threads": 2, "xnnpack": False}
    assert runner_options({}) == {"num_threads": 0, "xnnpack": True}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph_optimization_level": "all"}, "no session option 'graph_optimization_level'"),
        ({"threads": -1}, "threads = -1"),
        ({"threads": True}, "threads = True"),
        ({"xnnpack": "on"}, "xnnpack = 'on'"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        runner_options(options)


def test_what_a_release_takes() -> None:
    assert supported("1.1.0") == supported(litert.version()) == supported("9.0") == 3
    with pytest.raises(ConfigError, match=r"LiteRT 1\.0\.1 is too old"):
        supported("1.0.1")
    with pytest.raises(ConfigError, match="not a version"):
        supported("unknown")


def test_without_the_runtime_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ConfigError, match="LiteRT cannot be imported here") as refusal:
        Session(CONV)
    assert refusal.value.hint == "install it: pip install 'edgeopt[litert]'"
