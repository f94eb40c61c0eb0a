"""The four examples: what ships, and (long) that each ends as the never-worse promise says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeopt.cli.main import main
from edgeopt.cli.settings import optimize_options, settings
from edgeopt.optimize.inputs import open_inputs
from tests.e2e.program import TINY_DEVICE

EXAMPLES = Path(__file__).parent.parent / "examples"
FAMILIES = ("cnn", "rnn", "fnn", "transformer")
MODELS_BYTES, DATA_BYTES = 12_000_000, 8_000_000
NOISE = 1.03
"""Two medians of one final stage that differ by less are the same."""


def run(family: str, out: Path, *flags: str) -> dict[str, Any]:
    """`edgeopt optimize` in the example's own folder."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeopt", "optimize", "--device", "local", "--seed", "0", "--json",
         "-o", str(out), *flags],
        cwd=EXAMPLES / family, capture_output=True, text=True, env=os.environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_shipped_files_stay_small() -> None:
    models = [(EXAMPLES / family / "model.onnx").stat().st_size for family in FAMILIES]
    data = [p.stat().st_size for f in FAMILIES for p in (EXAMPLES / f / "data").rglob("*") if p.is_file()]
    assert sum(models) <= MODELS_BYTES
    assert sum(data) <= DATA_BYTES


@pytest.mark.parametrize("family", FAMILIES)
def test_each_has_its_licence_readme_and_script(family: str) -> None:
    for name in ("DATA_LICENSE", "README.md", "make_example.py", "edgeopt.toml"):
        assert (EXAMPLES / family / name).read_text(encoding="utf-8").strip(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_each_opens_and_has_enough_samples_to_establish_one_percent(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES / family)
    inputs = open_inputs(optimize_options(settings({}), fresh=False, command=""))
    assert inputs.gate is not None
    original = inputs.gate.original("confirm")
    assert original.score is not None
    assert inputs.gate.least_bound(finalists=6) <= 0.01 * original.score


def test_a_short_run_ends_with_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    device = tmp_path / "tiny.toml"
    device.write_text(TINY_DEVICE)
    monkeypatch.chdir(EXAMPLES / "fnn")
    code = main(
        ["optimize", "--device", str(device), "--board", "local", "--threads", "1", "--budget", "0",
         "--seed", "0", "--json", "-o", str(tmp_path / "out")]
    )  # fmt: skip
    said = capfd.readouterr()
    assert code == 0, said.err
    document = json.loads(said.out)
    assert document["verdict"] in ("improved", "reference", "original")
    assert document["accuracy"]["status"] == "established"


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_reference_within_the_constraint_beats_the_result(family: str, tmp_path: Path) -> None:
    document = run(family, tmp_path / "out", "--budget", "40 trials")
    best, base = document["best"], document["baseline"]
    allowed = [base] + [r for r in document["references"] if r["state"] == "COMPLETE"]
    fastest = min(t["latency_ms"]["p50"] for t in allowed)
    p50, base_p50 = best["latency_ms"]["p50"], base["latency_ms"]["p50"]
    print(
        f"{family}: {document['verdict']}, {base_p50 / p50:.2f} times as fast as the original,"
        f" {p50 / fastest:.2f} of the fastest recipe's time, drop {document['accuracy']['drop']},"
        f" {document['measured']} measured in {document['wall_seconds']:.0f} s"
    )
    assert best["latency_ms"]["p50"] <= NOISE * fastest
    assert best["stage"] == "final"
    assert document["accuracy"]["status"] == "established"
    assert document["accuracy"]["drop"] <= 0.01 * base["accuracy"]
