"""Inputs that change: through the whole of `optimize`, and measured with what each model takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from edgeopt.runtimes.onnxruntime import Session
from tests.e2e.contract import check_result
from tests.e2e.made import save, value, weight
from tests.e2e.program import Program

PROJECT = """[model]
path = "net.onnx"
allow_interface = ["uint8-input", "nhwc"]
[data]
path = "images"
[data.preprocess]
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


@pytest.fixture
def project(work: Path) -> Path:
    """A small convolutional network and 40 images of two classes."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "k", "b"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]  # fmt: skip
    weights = [weight("k", 16, 3, 3, 3), weight("b", 16), weight("w", 16, 2)]
    save(work / "net.onnx", nodes, [value("x", ["n", 3, 16, 16])], [value("y", ["n", 2])], weights)
    random = np.random.default_rng(0)
    for index in range(40):
        folder = work / "images" / str(index % 2)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 128, (16, 16, 3)) + 127 * (index % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    (work / "edgeopt.toml").write_text(PROJECT)
    return work


def taken(path: Path) -> tuple[int, list[int]]:
    given = onnx.load(path).graph.input[0].type.tensor_type
    return given.elem_type, [axis.dim_value for axis in given.shape.dim]


def test_a_result_may_take_bytes_with_channels_last(edgeopt: Program, inside: Program, project: Path) -> None:
    ran = inside(
        "optimize", "--device", "rpi4", "--board", "predicted", "--budget", "3 trials", "--max-drop", 0.5,
        "--sampler", "random", "--allow-worse", "size", "-o", "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    check_result(ran.document)
    trials = json.loads(inside("study", "export", "out", "--format", "json").out)["trials"]
    changed = [trial for trial in trials if trial["interface"]]
    assert [t["kind"] for t in changed] == ["candidate"] * len(changed)
    assert "x uint8[1,16,16,3] for x float32[1,3,16,16]" in {t["interface"] for t in changed}
    assert all(t["state"] == "COMPLETE" for t in changed)
    best = json.loads((project / "out" / "best.json").read_text())
    assert best["interface"] == best["best"]["interface"]
    files = [project / "out" / "artifacts" / f"{t['sha256']}.onnx" for t in changed]
    both = next(path for path in files if taken(path) == (onnx.TensorProto.UINT8, [1, 16, 16, 3]))
    (project / "bytes.onnx").write_bytes(both.read_bytes())
    gives_the_same(project)
    on_local(edgeopt)

    measured = inside(
        "measure", "net.onnx", "bytes.onnx", "--data", "images", "--device", "rpi4", "--board", "predicted",
        "--json",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    assert [row["state"] for row in measured.document["measurements"]] == ["COMPLETE"] * 2
    alone = inside("measure", "bytes.onnx", "--device", "rpi4", "--board", "predicted", "--json")
    assert alone.code == 0, alone.err


def on_local(edgeopt: Program) -> None:
    """The on-board runner feeds each what it takes: floats to one, bytes to the other."""
    measured = edgeopt(
        "measure", "net.onnx", "bytes.onnx", "--data", "images", "--device", "local", "--effort", "quick",
        "--threads", 1, "--json",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    assert [row["state"] for row in measured.document["measurements"]] == ["COMPLETE"] * 2


def gives_the_same(project: Path) -> None:
    """A user feeds the pixels as they are decoded."""
    pixels = np.asarray(Image.open(project / "images" / "1" / "1.png"))[None]
    scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    before = Session(project / "net.onnx").run({"x": scaled.transpose(0, 3, 1, 2).astype(np.float32)})[0]
    after = Session(project / "bytes.onnx").run({"x": pixels})[0]
    assert np.abs(before - after).max() <= 0.1 * np.abs(before).max()


def test_data_that_are_no_bytes_are_said_to_be_none(inside: Program, project: Path) -> None:
    np.savez(project / "floats.npz", x=np.random.default_rng(0).standard_normal((20, 3, 16, 16), np.float32))
    ran = inside(
        "optimize", "--data", "floats.npz", "--device", "rpi4", "--board", "predicted", "--budget", 0,
        "-o", "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "--allow-interface uint8-input is left out: input x: the data are float32" in ran.err
    assert ran.document["best"]["interface"] == []
