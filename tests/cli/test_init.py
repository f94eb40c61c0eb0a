from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.cli.init import project_text
from edgeopt.core.tensor import TensorSpec
from edgeopt.project import Project
from tests.cli.conftest import Ran

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] features, float[1, 4] bias) => (float[N, 4] out) { out = Add(features, bias) }
"""


@pytest.fixture
def model(folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    return path


def test_a_project_file_is_written_and_reads_back(run: Callable[..., Ran], model: Path, folder: Path) -> None:
    ran = run("init", model, "--device", "rpi4")
    assert ran.code == 0, ran.err
    project = Project.read(folder / "edgeopt.toml")
    assert project.get("model", "path") == str(model)
    assert project.get("board", "device") == "rpi4"
    text = (folder / "edgeopt.toml").read_text()
    assert "features float32[?,4]" in text
    assert "# shape = { features = [1, 4] }" in text


def test_a_file_that_is_there_is_kept(run: Callable[..., Ran], model: Path, folder: Path) -> None:
    (folder / "edgeopt.toml").write_text("# mine\n")
    ran = run("init", model)
    assert (ran.code, "--force" in ran.err) == (2, True)
    assert (folder / "edgeopt.toml").read_text() == "# mine\n"
    assert run("init", model, "--force").code == 0
    assert "# mine" not in (folder / "edgeopt.toml").read_text()


def test_a_refused_model_leaves_nothing_behind(run: Callable[..., Ran], folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(b"\x00" * 100)
    assert run("init", "bad.onnx").code == 3
    assert [path.name for path in folder.iterdir()] == ["bad.onnx"]


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=20))
def test_any_name_makes_a_valid_file(path: str, name: str) -> None:
    specs = [TensorSpec(name, "float32", (None, 3))]
    text = project_text(path, specs, device="local", data=None)
    assert tomllib.loads(text)["model"]["path"] == path
    shown = text.replace("# shape =", "shape =")
    assert tomllib.loads(shown)["model"]["shape"] == {name: [1, 3]}
