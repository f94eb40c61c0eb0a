"""Weights are found in a model's file, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.core.pieces import LEAST_BYTES, pieces

LARGE = np.arange(LEAST_BYTES, dtype=np.float32)
SMALL = np.arange(LEAST_BYTES // 8, dtype=np.float32)


def model(*weights: np.ndarray) -> bytes:
    """A model with these initializers."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    initializers = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(weights)]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], initializers)
    return bytes(helper.make_model(graph).SerializeToString())


def test_the_bytes_of_each_large_weight_are_found(tmp_path: Path) -> None:
    content = model(LARGE, SMALL, LARGE[::-1].copy())
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    found = pieces(path)
    assert [content[p.offset : p.offset + p.length] for p in found] == [
        LARGE.tobytes(),
        LARGE[::-1].tobytes(),
    ]
    assert found[0].digest == hashlib.sha256(LARGE.tobytes()).digest()


def test_equal_weights_have_one_digest_in_two_models(tmp_path: Path) -> None:
    one, other = tmp_path / "1.onnx", tmp_path / "2.onnx"
    one.write_bytes(model(LARGE))
    other.write_bytes(model(SMALL, LARGE, SMALL))
    assert pieces(one)[0].digest == pieces(other)[0].digest
    assert pieces(one)[0].offset != pieces(other)[0].offset


@pytest.mark.parametrize("cut", [1, 100, LEAST_BYTES * 4])
def test_a_file_that_was_cut_short_has_no_piece_beyond_its_end(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(LARGE, LARGE + 1)[:-cut])
    assert all(p.offset + p.length <= path.stat().st_size for p in pieces(path))


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_at_all_are_no_model_or_have_pieces_inside(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "noise"
    path.write_bytes(np.random.default_rng(seed).bytes(3 * LEAST_BYTES))
    assert all(p.offset + p.length <= path.stat().st_size for p in pieces(path))


def test_an_empty_file_has_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert pieces(tmp_path / "empty") == []


def test_a_bundled_example_is_covered_by_its_pieces() -> None:
    path = Path(__file__).parents[2] / "examples" / "transformer" / "model.onnx"
    whole = sum(tensor.ByteSize() for tensor in onnx.load(path).graph.initializer)
    assert sum(piece.length for piece in pieces(path)) > 0.9 * whole
