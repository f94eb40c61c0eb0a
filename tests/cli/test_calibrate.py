"""Calibrating for real: on this machine, and over SSH on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt import calibrate
from edgeopt.boards import places, profiles
from tests.boards.virtual.processes import wait_until
from tests.cli.conftest import Ran
from tests.conftest import TOLERANT
from tests.sshd import Sshd, descendants

ALL = {
    "measured.gemm_fp32_gflops_1", "measured.gemm_fp32_gflops", "measured.gemm_int8_gops_1",
    "measured.gemm_int8_gops", "measured.copy_gbs", "measured.dispatch_us", "memory.memcpy_gbs",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real boards and the real runner, for a moment each, whatever else this machine does."""
    devices = places.home() / "devices"
    devices.mkdir(parents=True)
    (devices / "local.toml").write_text(TOLERANT)
    monkeypatch.setattr(
        calibrate, "PROTOCOL", replace(calibrate.PROTOCOL, window_s=0.2, slice_s=0.1, min_runs=5)
    )
    monkeypatch.setattr(calibrate, "COPY_BYTES", 16 << 20)


def test_this_machine_is_calibrated_and_the_facts_are_its_own(run: Callable[..., Ran]) -> None:
    ran = run("boards", "calibrate", "local", "--json")
    assert ran.code == 0, ran.err
    document = ran.document
    told = {row["fact"] for row in document["facts"]}
    assert told <= ALL
    assert told
    # Eight times were taken, of which one makes no fact; what a busy machine cannot tell is named.
    assert len(told) + len(document["missing"]) in (7, 8)
    assert all(one["reason"] for one in document["missing"])
    assert all(row["value"] > 0 for row in document["facts"])
    assert Path(document["file"]).is_file()
    assert document["emulation"] is None
    section, name = document["facts"][0]["fact"].split(".")
    fact = profiles.load("local", "local").fact(section, name)
    assert fact is not None
    assert fact.source.startswith("measured by edgeopt boards calibrate on 20")
    assert "onnxruntime" in fact.source
    assert fact.is_measured
    assert "measured = true" in Path(document["file"]).read_text()
    assert profiles.load("local").fact(section, name) is None
    shown = run("devices", "show", "local", "--board", "local", "--json").document["facts"]
    assert (shown[section][name]["value"], shown[section][name]["measured"]) == (fact.value, True)
    assert section not in run("devices", "show", "local", "--json").document["facts"]


def test_a_board_over_ssh_is_calibrated_and_used_with_its_facts(
    run: Callable[..., Ran],
    folder: Path,
    sshd: Sshd,
) -> None:
    (folder / "boards.toml").write_text(f'[board.bench]\ndevice = "local"\nurl = {json.dumps(sshd.url)}\n')
    ran = run("boards", "calibrate", "bench")
    assert ran.code == 0, ran.err
    assert "kept for bench" in ran.out
    assert profiles.load("local", "bench").facts != profiles.load("local").facts
    assert profiles.load("local", "local").facts == profiles.load("local").facts


def test_a_board_that_takes_too_long_is_left_when_the_time_is_over(
    run: Callable[..., Ran], sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "PROTOCOL", replace(calibrate.PROTOCOL, window_s=1e6))
    monkeypatch.setattr(calibrate, "MOST_S", 3.0)
    begun = time.monotonic()
    ran = run("boards", "calibrate", sshd.url, "--device", "local")
    assert time.monotonic() - begun < 60
    assert ran.code == 4
    assert "could not be calibrated: the 5 minutes were over" in ran.err
    assert sshd.process
    wait_until(lambda: not [p for p in descendants(sshd.process.pid) if p], 30)  # nothing runs on there


def test_what_is_not_real_is_refused_before_anything_is_measured(run: Callable[..., Ran]) -> None:
    for board in ("virtual:rpi4", "predicted"):
        ran = run("boards", "calibrate", board, "--device", "rpi4", "--json")
        assert (ran.code, ran.document["error"]["kind"]) == (4, "board")
        assert "only a real board can be calibrated" in ran.document["error"]["message"]


def test_models_for_a_device_that_cannot_be_emulated_are_refused_first(
    run: Callable[..., Ran],
    folder: Path,
) -> None:
    (folder / "a.onnx").write_bytes(b"")
    ran = run("boards", "calibrate", "local", "a.onnx", "--json")
    assert (ran.code, "cannot be emulated" in ran.document["error"]["message"]) == (2, True)


@pytest.mark.parametrize(("board", "provenance"), [("virtual:rpi4", "emulated"), ("predicted", "predicted")])
def test_what_only_stands_in_for_a_board_is_refused_without_naming_flags_that_nobody_gave(
    run: Callable[..., Ran], board: str, provenance: str
) -> None:
    ran = run("boards", "calibrate", board)
    assert ran.code == 4
    assert ran.err.splitlines()[0] == f"error: {board} is {provenance}: only a real board can be calibrated"
    assert "--require" not in ran.err
