"""Disks that are full, read-only or damaged: said as such, nothing is left half, nothing wrong is used."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from edgeopt.core.errors import CommandError
from edgeopt.core.measurement import Measurement
from tests.boards.tiny import FEEDS
from tests.faults.bench import Bench, Fault, Results


def mount(bench: Bench, options: str) -> Path:
    """A disk of its own for the board's cache."""
    folder = bench.sshd.home / ".cache"
    folder.mkdir(exist_ok=True)
    ran = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if ran.returncode:
        pytest.skip("only root may mount a disk to fill it")
    return folder


def unmount(bench: Bench) -> None:
    bench.disconnect()
    assert bench.leftovers() == []
    subprocess.run(["umount", "-l", bench.sshd.home / ".cache"], check=True)
    subprocess.run(["umount", "-l", bench.sshd.home / ".cache"], check=False, capture_output=True)


def disk_fills_while_uploading(bench: Bench) -> Results:
    mount(bench, "size=8m")
    return bench.measure(bench.large(12))


def room_again(bench: Bench) -> None:
    """Whatever did not fit is gone, so that something smaller does."""
    assert [path for path in bench.sshd.objects.iterdir() if path.suffix == ".part"] == []
    assert isinstance(bench.measure()[0], Measurement)
    unmount(bench)


def disk_full_from_the_start(bench: Bench) -> Results:
    (mount(bench, "size=64k") / "ballast").write_bytes(bytes(60 << 10))
    return bench.measure()


def without_ballast(bench: Bench) -> None:
    (bench.sshd.home / ".cache" / "ballast").unlink()
    room_again(bench)


def disk_turns_read_only(bench: Bench) -> Results:
    folder = mount(bench, "size=64m")
    assert isinstance(bench.measure()[0], Measurement)
    # Over itself: the runner has a file open there, with which the disk itself cannot turn read-only.
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    return bench.measure(bench.model("never -"))


def read_only_from_the_start(bench: Bench) -> Results:
    mount(bench, "size=64m,ro")
    return bench.measure()


def home_is_no_folder(bench: Bench) -> Results:
    (bench.sshd.home / ".cache").write_text("a file")
    return bench.measure()


def remove_the_file(bench: Bench) -> None:
    (bench.sshd.home / ".cache").unlink()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def object_damaged(bench: Bench) -> Results:
    before = bench.measure()
    assert isinstance(before[0], Measurement)
    stored = bench.sshd.objects / bench.good.sha256
    damage(stored)
    results = bench.measure()
    assert stored.read_bytes() == bench.good.path.read_bytes()
    return results


def object_emptied_by_a_power_cut(bench: Bench) -> Results:
    bench.measure()
    (bench.sshd.objects / bench.good.sha256).write_bytes(b"")
    return bench.measure()


def partial_upload_damaged(bench: Bench) -> Results:
    bench.sshd.objects.mkdir(parents=True)
    content = bytearray(bench.good.path.read_bytes()[:1000])
    content[500] ^= 0xFF
    (bench.sshd.objects / f"{bench.good.sha256}.part").write_bytes(content)
    return bench.measure()


def runner_damaged(bench: Bench) -> Results:
    bench.measure()
    bench.disconnect()
    (script,) = (bench.sshd.objects.parent / "runner").iterdir()
    damage(script)
    return bench.measure()


def cache_removed_meanwhile(bench: Bench) -> Results:
    import shutil

    bench.measure()
    shutil.rmtree(bench.sshd.objects)
    return bench.measure()


def disk_full_when_outputs_are_written(bench: Bench) -> Results:
    folder = mount(bench, "size=16m")
    assert list(bench.board.infer(bench.good, [FEEDS]))
    with contextlib.suppress(OSError), (folder / "ballast").open("wb") as ballast:
        while True:
            ballast.write(bytes(1 << 12))
            ballast.flush()
    list(bench.board.infer(bench.good, [FEEDS]))
    return []


FULL = "No space left on device"
FAULTS = {
    "disk fills while uploading": Fault(disk_fills_while_uploading, CommandError, FULL, room_again),
    "disk full from the start": Fault(disk_full_from_the_start, CommandError, FULL, unmount),
    "disk full when outputs are written": Fault(
        disk_full_when_outputs_are_written, CommandError, FULL, without_ballast
    ),
    "disk turns read-only": Fault(disk_turns_read_only, CommandError, "Read-only file system", unmount),
    "disk read-only from the start": Fault(
        read_only_from_the_start, CommandError, "Read-only file system", unmount
    ),
    "home cannot be written": Fault(home_is_no_folder, CommandError, "cannot store", remove_the_file),
    "object damaged in the board's cache": Fault(object_damaged, Measurement),
    "object emptied by a power cut": Fault(object_emptied_by_a_power_cut, Measurement),
    "partial upload damaged": Fault(partial_upload_damaged, Measurement),
    "runner damaged on the board": Fault(runner_damaged, Measurement),
    "cache removed while connected": Fault(cache_removed_meanwhile, Measurement),
}
