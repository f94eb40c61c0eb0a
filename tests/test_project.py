from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError
from edgeopt.project import Project, source
from edgeopt.resources import resource


def write(folder: Path, text: str) -> Path:
    path = folder / "edgeopt.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "d.npz").touch()
    project = Project.read(write(tmp_path, '[model]\npath = "m.onnx"\n[data]\npath = "d.npz"\n'))
    assert project.get("model", "path") == str(tmp_path / "m.onnx")
    assert project.get("data", "path") == str(tmp_path / "d.npz")


def test_a_folder_without_a_file_has_no_project(tmp_path: Path) -> None:
    assert Project.find(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[modell]\n", "unknown section [modell]"),
        ("[model]\npaht = 'x'\n", "unknown key 'paht'"),
        ("[search]\nthreads = true\n", "must be a whole number"),
        ("[search]\nseed = 1.5\n", "must be a whole number"),
        ("[data]\nmax_drop = []\n", "must be a text or a whole number or a number"),
        ("model = 3\n", "must be a section"),
        ("[model\n", "cannot read"),
        ("[data]\npath = 'nowhere.npz'\n", "no such file"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Project.read(write(tmp_path, text))
    assert words in caught.value.message


def test_preprocessing_is_passed_on_as_it_stands(tmp_path: Path) -> None:
    project = Project.read(write(tmp_path, "[data.preprocess]\nresize = [32, 32]\nanything = 'x'\n"))
    assert project.get("data", "preprocess") == {"resize": [32, 32], "anything": "x"}


@pytest.mark.parametrize("family", ["cnn", "rnn", "fnn", "transformer"])
def test_the_examples_are_valid(family: str) -> None:
    path = resource("examples/cnn").parent / family / "edgeopt.toml"
    assert Project.read(path).get("model", "path").endswith("model.onnx")


def test_a_function_is_a_source(tmp_path: Path) -> None:
    assert source("my.package:samples", tmp_path) == "my.package:samples"


@given(st.text(max_size=30))
def test_any_text_is_a_source_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        found = source(text, Path("/proc/self/empty"))
        assert ":" in found or Path(found).exists()
