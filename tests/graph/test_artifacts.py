"""Files of candidates take little room, and come back byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.graph.artifacts import WEIGHTS, Artifacts

WEIGHT = np.random.default_rng(0).random((64, 64, 9), dtype=np.float32)


def content(number: int) -> bytes:
    """A model of one large weight that all have, and one that only this has."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    own = np.full((2000,), number, np.float32)
    initializers = [numpy_helper.from_array(WEIGHT, "shared"), numpy_helper.from_array(own, "own")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], initializers)
    return bytes(helper.make_model(graph).SerializeToString())


def written(artifacts: Artifacts, count: int) -> list[str]:
    return [artifacts.write(content(number)) for number in range(count)]


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_weight_that_all_share_is_kept_once(tmp_path: Path) -> None:
    one = len(content(0))
    written(Artifacts(tmp_path, whole_bytes=2 * one), 20)
    assert len(list(tmp_path.glob("*.onnx"))) == 2
    assert size_bytes(tmp_path) < 2 * one + WEIGHT.nbytes + 20 * (one - WEIGHT.nbytes + 4000)


def test_every_file_comes_back_as_it_was(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, whole_bytes=0)
    for number, name in enumerate(written(artifacts, 5)):
        assert artifacts.restore(name, len(content(number)))
        assert artifacts.path(name).read_bytes() == content(number)
        assert hashlib.sha256(content(number)).hexdigest() == name


def test_a_pinned_file_stays_whole(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, whole_bytes=0)
    first = artifacts.write(content(0))
    artifacts.pin(first)
    written(artifacts, 5)
    assert artifacts.path(first).read_bytes() == content(0)


@pytest.mark.parametrize("damage", ["changed", "gone", "recipe"])
def test_what_is_damaged_is_not_restored_and_can_be_written_again(tmp_path: Path, damage: str) -> None:
    artifacts = Artifacts(tmp_path, whole_bytes=0)
    first, _ = written(artifacts, 2)
    weight = max((tmp_path / WEIGHTS).iterdir(), key=lambda path: path.stat().st_size)
    if damage == "changed":
        weight.write_bytes(bytes(weight.stat().st_size))
    elif damage == "gone":
        weight.unlink()
    else:
        artifacts.path(first).with_suffix(".recipe").write_text("[1, ")
    assert not artifacts.restore(first, len(content(0)))
    assert not artifacts.path(first).exists()
    assert artifacts.write(content(0)) == first
    assert artifacts.path(first).read_bytes() == content(0)


def test_a_damaged_weight_is_replaced_when_one_of_those_that_share_it_is_written_again(
    tmp_path: Path,
) -> None:
    artifacts = Artifacts(tmp_path, whole_bytes=0)
    first, second, _ = written(artifacts, 3)
    weight = max((tmp_path / WEIGHTS).iterdir(), key=lambda path: path.stat().st_size)
    damaged = bytearray(weight.read_bytes())
    damaged[1000] ^= 1
    weight.write_bytes(damaged)
    assert not artifacts.restore(first, len(content(0)))
    assert not weight.exists()
    artifacts.write(content(0))
    artifacts.write(content(3))  # takes the first apart
    assert hashlib.sha256(weight.read_bytes()).hexdigest() == weight.name
    assert artifacts.restore(second, len(content(1)))
    assert artifacts.path(second).read_bytes() == content(1)


def test_a_damaged_file_of_the_right_size_is_written_again(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    name = artifacts.write(content(0))
    artifacts.path(name).write_bytes(bytes(len(content(0))))
    artifacts.write(content(0))
    assert artifacts.path(name).read_bytes() == content(0)
