"""A disk that is really full: a small tmpfs, or where nobody may mount one a limit on every file's size."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.contract import check_error, check_result
from tests.e2e.program import Program, all_ended


@dataclass
class SmallDisk:
    """A folder in which little can be written until it is freed."""

    folder: Path
    preexec: Callable[[], None] | None
    free: Callable[[], None]


@pytest.fixture(params=[1, 80], ids="{} KiB left".format)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    left, folder = int(request.param) << 10, tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode == 0:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes((8 << 20) - left))
        yield SmallDisk(folder, None, ballast.unlink)
        subprocess.run(["umount", folder], check=True)
    else:

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (left, resource.RLIM_INFINITY))

        small = SmallDisk(folder, limit, lambda: setattr(small, "preexec", None))
        yield small


def test_a_full_disk_is_said_and_once_there_is_space_the_study_goes_on(
    edgeopt: Program, model: Path, disk: SmallDisk, home: Path
) -> None:
    command = edgeopt.optimizing(
        model.name, "--sampler", "random", "--threads", 1, "--budget", "1 trials", "-o", disk.folder / "out"
    )  # fmt: skip
    ran = edgeopt.start(*command, preexec=disk.preexec).wait()
    assert ran.code == 1, ran.err
    assert "Traceback" not in ran.err
    errors = ran.err[ran.err.index("error: ") :].splitlines()
    assert len(errors) <= 2
    assert "No space left" in errors[0] or "no space left" in errors[0] or "too large" in errors[0].lower()
    check_error(ran.document)
    assert ran.document["error"]["kind"] == "host"
    assert all_ended(home) == []

    disk.free()
    again = edgeopt.start(*command, preexec=disk.preexec).wait()
    assert again.code == 0, again.err
    check_result(again.document)
    assert set(again.told).isdisjoint(ran.told)
    assert len(again.told) + len(ran.told) == again.document["trials"]
