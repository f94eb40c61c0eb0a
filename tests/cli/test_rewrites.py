"""What the search can do to a model, told before anything is searched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edgeopt.resources import resource
from tests.cli.conftest import Ran

CNN = resource("examples/cnn/model.onnx")


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """One Pad that a convolution can do itself, and one that it cannot."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,N] x) => (float[1,1,M] y)
          <int64[6] pads = {0, 0, 1, 0, 0, 1}, float one = {1}, float[1,1,2] w = {1, 2}>
        { p = Pad(x, pads)
          c = Conv(p, w)
          q = Pad(c, pads, one)
          y = Conv(q, w) }"""
    )
    path = tmp_path / "padded.onnx"
    onnx.save(model, path)
    return path


def test_where_a_rewrite_applies_and_why_it_does_not_elsewhere(run: Callable[..., Ran], padded: Path) -> None:
    rows = run("rewrites", "explain", padded, "--shape", "x=1,1,8", "--json").document["rewrites"]
    (pad,) = (row for row in rows if row["name"] == "fuse_pad_conv")
    assert pad["exact"] is True
    assert pad["applies"] == 1
    assert sum(pad["regions"].values()) == 1
    ((reason, nodes),) = pad["refused"].items()
    assert "zeros" in reason
    assert len(nodes) == 1
    (norm,) = (row for row in rows if row["name"] == "fold_batchnorm")
    assert norm["applies"] == 0
    assert norm["refused"] == {}


def test_a_person_reads_the_same(run: Callable[..., Ran], padded: Path) -> None:
    ran = run("rewrites", "explain", padded, "--shape", "x=1,1,8")
    assert ran.code == 0
    assert "zeros (1)" in " ".join(ran.out.split())
    assert "fold_batchnorm" in ran.out.partition("Nothing in the model looks like")[2]


def test_every_place_of_one_rewrite(run: Callable[..., Ran]) -> None:
    ran = run("rewrites", "explain", CNN, "--only", "fold_batchnorm", "--json")
    (row,) = ran.document["rewrites"]
    norms = sum(node.op_type == "BatchNormalization" for node in onnx.load(CNN).graph.node)
    assert row["applies"] == norms > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope.onnx"], "no such file"),
        ([CNN, "--only", "nope"], "no such rewrite: nope"),
        ([CNN, "--shape", "nope=1"], "nope"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    run: Callable[..., Ran], arguments: list[object], says: str
) -> None:
    ran = run("rewrites", "explain", *arguments)
    assert ran.code == 2
    assert says in ran.err
