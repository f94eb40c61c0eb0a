"""Disks that are full or read-only: said as such, what serves goes on, what is half there is no obstacle."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.field.device.agents import Agent
from tests.field.device.packages import Vendor

MEGABYTE = 1 << 20


@pytest.fixture
def small(tmp_path: Path, vendor: Vendor) -> Iterator[Agent]:
    """A device on a disk of 8 MB, with version 1."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a disk to fill it")
    try:
        agent = Agent(disk / "device").trusts(vendor)
        agent.good("install", vendor.package(tmp_path / "1.edgepkg", 1))
        yield agent
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        subprocess.run(["umount", "-l", disk], check=False, capture_output=True)


def fill(agent: Agent, keep: int) -> Path:
    """Leave so many bytes free."""
    ballast = agent.root.parent / "ballast"
    status = os.statvfs(agent.root)
    ballast.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - keep)))
    return ballast


def test_a_release_that_does_not_fit_is_refused_with_the_figures(
    small: Agent, vendor: Vendor, tmp_path: Path
) -> None:
    refused = small.do("install", vendor.package(tmp_path / "2.edgepkg", 2, pad=12 * MEGABYTE))
    assert (refused.code, refused["error"]["kind"]) == (4, "disk")
    assert "needs 13 MB" in refused["error"]["message"]
    assert small.serving == 1


@pytest.mark.parametrize("keep", [0, 4096, 64 << 10, MEGABYTE + (300 << 10)])
def test_a_disk_that_is_full_keeps_nothing_from_serving(
    small: Agent, vendor: Vendor, tmp_path: Path, keep: int
) -> None:
    package = vendor.package(tmp_path / "2.edgepkg", 2, pad=256 << 10)
    ballast = fill(small, keep)
    said = small.do("install", package)
    assert said.code in (0, 4), said
    assert small.good("boot")["counter"] in (1, 2)
    ballast.unlink()
    assert small.good("install", package)["counter"] == 2
    assert list((small.root / "objects").glob("*.part")) == []


def test_a_full_disk_does_not_keep_it_from_leaving_a_damaged_version(
    small: Agent, vendor: Vendor, tmp_path: Path
) -> None:
    small.good("install", vendor.package(tmp_path / "2.edgepkg", 2))
    model = small.root / "current" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[::-1])
    fill(small, 0)
    assert small.do("boot").code in (0, 4)
    assert small.serving == 1


def test_a_read_only_disk_is_said_and_serves(small: Agent, vendor: Vendor, tmp_path: Path) -> None:
    package = vendor.package(tmp_path / "2.edgepkg", 2)
    subprocess.run(["mount", "-o", "remount,ro", small.root.parent], check=True)
    refused = small.do("install", package)
    assert (refused.code, refused["error"]["kind"]) == (4, "disk")
    booted = small.good("boot")
    assert (booted["counter"], booted["writable"]) == (1, False)
    assert small.good("status")["counter"] == 1
    subprocess.run(["mount", "-o", "remount,rw", small.root.parent], check=True)
    assert small.good("install", package)["counter"] == 2
