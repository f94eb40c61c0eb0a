"""LiteRT models through the on-board runner, on this machine."""

from __future__ import annotations

import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeopt.boards.runner import RunnerBoard
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CandidateFailed, ConnectError
from edgeopt.runtimes import litert
from tests.boards import tiny
from tests.boards.runners import SCREEN, board, measured
from tests.runtimes.test_litert import CONV, FEEDS, FILES


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerBoard]:
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(tmp_path_factory.mktemp("board")))
    with board("local") as opened:
        patch.undo()
        yield opened


def lite(path: Path = CONV, **options: object) -> Artifact:
    size = path.stat().st_size
    return Artifact("key", path, file_digest(path), size, "litert", {"threads": 1} | options)


def test_the_board_tells_its_runtimes(local: RunnerBoard) -> None:
    assert local.facts.runtimes["litert"] == litert.version()
    assert local.facts.runtimes["onnxruntime"].startswith("1.")


def test_a_measurement_is_complete(local: RunnerBoard) -> None:
    artifacts = [lite(), lite(xnnpack=False), lite(threads=0)]
    for result in map(measured, local.measure(artifacts, FEEDS, SCREEN)):
        assert len(result.latencies_ms) >= 64
        assert result.cold_start_ms
        assert result.load_ms is not None
        assert result.first_inference_ms is not None
        assert result.cold_start_ms > result.load_ms + result.first_inference_ms
        assert result.peak_rss_bytes
        assert result.model_rss_bytes is not None
        assert result.model_rss_bytes < result.peak_rss_bytes / 2  # the runtime itself is subtracted


def test_infer_computes_what_the_host_computes(local: RunnerBoard) -> None:
    samples = [{"img": FEEDS["img"] * number} for number in range(3)]
    session = litert.Session(CONV, {"threads": 1})
    answers = list(local.infer(lite(), iter(samples)))
    assert [len(answer) for answer in answers] == [2, 2, 2]
    for sample, answer in zip(samples, answers, strict=True):
        for ours, theirs in zip(session.run(sample), answer, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_model_that_cannot_be_loaded_or_run_fails_alone(local: RunnerBoard, tmp_path: Path) -> None:
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"not a model")
    good, custom, bad = local.measure([lite(), lite(FILES / "custom.tflite"), lite(junk)], FEEDS, SCREEN)
    measured(good)
    assert isinstance(custom, CandidateFailed)
    assert custom.message.startswith("cannot be loaded on the board: ")
    assert "ONNX_DET" in custom.message
    assert isinstance(bad, CandidateFailed)
    assert bad.message.startswith("cannot be loaded on the board: ")
    (wrong,) = local.measure([lite()], {"img": FEEDS["img"][0]}, SCREEN)
    assert isinstance(wrong, CandidateFailed)
    assert wrong.message.startswith("cannot be run on the board: Cannot set tensor")


def test_times_of_operators_are_not_invented(local: RunnerBoard) -> None:
    with pytest.raises(CandidateFailed, match="does not tell the times of single operators"):
        local.profile(lite(), FEEDS, runs=5)


def test_a_board_with_one_runtime_names_the_line_that_installs_the_other(tmp_path: Path) -> None:
    python = python_with(tmp_path / "only onnxruntime", {"onnxruntime", "numpy"})
    with board(f"local://?python={python}") as opened:
        measured(opened.measure([tiny.artifact(tmp_path, tiny.chain(2))], tiny.FEEDS, SCREEN)[0])
        with pytest.raises(ConnectError, match="cannot import litert: it is not installed") as refusal:
            opened.measure([lite()], FEEDS, SCREEN)
    assert refusal.value.hint
    assert f"{python} -m pip install 'ai-edge-litert'" in refusal.value.hint


def test_a_board_without_onnxruntime_runs_litert_models(tmp_path: Path) -> None:
    python = python_with(tmp_path / "only litert", {"ai_edge_litert", "numpy", "backports", "flatbuffers"})
    with board(f"local://?python={python}") as opened:
        assert set(opened.facts.runtimes) == {"litert"}
        measured(opened.measure([lite()], FEEDS, SCREEN)[0])
        with pytest.raises(ConnectError, match=r"cannot import onnxruntime: .*No module named"):
            opened.measure([tiny.artifact(tmp_path, tiny.chain(2))], tiny.FEEDS, SCREEN)


def python_with(folder: Path, wanted: set[str]) -> Path:
    """A Python of its own that sees only some of the packages of this one."""
    venv.create(folder, symlinks=True)
    target = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for path in Path(np.__file__).parent.parent.iterdir():
        if path.name.split("-")[0].split(".")[0] in wanted or path.name == "numpy.libs":
            (target / path.name).symlink_to(path)
    return folder / "bin" / "python"
