"""The image of virtual boards: what can go wrong while it is made, and what nobody trips over afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import image, locks, recipe, version
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.boards.virtual.image import Image
from edgeopt.boards.virtual.running import Running
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import BoardError, EdgeoptError
from edgeopt.core.progress import Observer
from tests.boards.virtual.processes import is_there, kill, mentioning, python, wait_until
from tests.sshd import free_port

BUILDER = """
from edgeopt.boards.virtual import image
from edgeopt.core.progress import Observer
class Loud(Observer):
    def announce(self, line):
        print(line, flush=True)
print(image.ready(Loud()).folder, flush=True)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it."""
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody is behind: apt and pip connect to nobody else."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def small_disk(cache: Path) -> Iterator[Path]:
    """A cache on a disk with 300 MB, of which the packages alone take more."""
    cache.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", cache],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.fail(f"this machine does not let a test mount a small disk: {mounted.stderr}")
    yield cache
    subprocess.run(["umount", cache], check=True)


def left(cache: Path) -> set[str]:
    """What is in the cache apart from locks."""
    return {path.name for path in (cache / "virtual").iterdir() if path.suffix != ".lock"}


def test_a_disk_with_too_little_room_is_said_before_anything_is_fetched(
    small_disk: Path, no_network: None
) -> None:
    with pytest.raises(EdgeoptError, match="No space left") as refusal:
        image.ready()
    assert (refusal.value.exit_code, "\n" in refusal.value.message) == (1, False)
    assert "EDGEOPT_CACHE" in (refusal.value.hint or "")
    assert left(small_disk) == set()


def test_a_disk_that_fills_up_meanwhile_is_said(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "BUILD_BYTES", 1)
    with pytest.raises(EdgeoptError, match="No space left") as refusal:
        image.ready()
    assert (refusal.value.exit_code, "\n" in refusal.value.message) == (1, False)
    assert left(small_disk) == set()


@pytest.mark.usefixtures("no_network")
def test_no_network_is_said_in_one_line(cache: Path) -> None:
    with pytest.raises(BoardError, match="cannot download") as refusal:
        image.ready()
    assert "\n" not in refusal.value.message
    assert "network" in (refusal.value.hint or "")
    assert left(cache) == set()


def test_a_package_index_that_answers_nobody_is_not_blamed_on_debian(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(BoardError, match="cannot download the guest's Python packages") as refusal:
        image.ready()
    assert "nobody answers there (Connection refused)" in refusal.value.message
    assert "PIP_INDEX_URL" in (refusal.value.hint or "")
    assert "network" in (refusal.value.hint or "")
    assert "DEBIAN" not in (refusal.value.hint or "")
    assert "\n" not in refusal.value.message
    assert left(cache) == set()


def test_a_package_index_without_the_wheel_is_not_blamed_on_the_network(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(BoardError, match="cannot download the guest's Python packages") as refusal:
        image.ready()
    assert "lacks this arm64 wheel" in (refusal.value.hint or "")
    assert "network" not in (refusal.value.hint or "")


def test_an_unknown_mirror_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEOPT_DEBIAN_MIRROR", f"http://127.0.0.1:{free_port()}/debian")
    with pytest.raises(BoardError, match="cannot download Debian's packages"):
        image.ready()


@pytest.mark.usefixtures("no_network")
def test_a_killed_builder_leaves_no_process_and_nothing_to_trip_over(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name)
    builder = python(BUILDER)
    part = cache / "virtual" / f"{recipe.digest()}.part"
    wait_until(lambda: (part / "root").exists())
    working = mentioning(str(part))
    kill(builder)
    assert working
    wait_until(lambda: not any(map(is_there, working)))
    wait_until(lambda: not mentioning(str(part)))
    assert part.exists()
    assert locks.is_free(cache / "virtual" / f"{recipe.digest()}.lock")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BoardError, match="cannot download"):  # the next one begins anew
        image.ready()
    assert left(cache) == set()


def test_of_two_builders_one_waits_for_the_other(
    cache: Path, virtual_board: Running, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_CACHE", str(cache))
    with locks.locked(image.folder() / f"{recipe.digest()}.lock"):
        second = python(BUILDER)
        assert second.stdout
        assert "waiting" in second.stdout.readline()
        (cache / "virtual" / recipe.digest()).symlink_to(images / "virtual" / recipe.digest())
    assert second.stdout.readline().strip() == str(cache / "virtual" / recipe.digest())
    kill(second)


def test_damage_is_found_in_every_file(tmp_path: Path) -> None:
    whole = Image(tmp_path / "image")
    whole.folder.mkdir()
    for name in image.FILES:
        (whole.folder / name).write_bytes(os.urandom(3 << 20))
    sums = {name: image.checksum(whole.folder / name) for name in image.FILES}
    (whole.folder / image.CHECKSUMS).write_text(json.dumps(sums))
    assert whole.damage() is None
    for name in image.FILES:
        with (whole.folder / name).open("r+b") as stream:
            stream.seek(2 << 20)
            byte = stream.read(1)
            stream.seek(2 << 20)
            stream.write(bytes([byte[0] ^ 1]))
        assert whole.damage() == name
        with (whole.folder / name).open("r+b") as stream:
            stream.seek(2 << 20)
            stream.write(byte)
    (whole.folder / "kernel").unlink()
    assert whole.damage() == "kernel"
    (whole.folder / image.CHECKSUMS).write_text("{")
    assert whole.damage() == image.CHECKSUMS


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([b"", b"\0" * 5000, b"data" * 700]))))
def test_a_checksum_does_not_depend_on_where_a_file_has_holes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("holes")
    sparse, dense = folder / "sparse", folder / "dense"
    with sparse.open("wb") as stream:
        for at, content in pieces:
            stream.seek(at * 100_000)
            stream.write(content)
    dense.write_bytes(sparse.read_bytes())
    assert image.checksum(sparse) == image.checksum(dense)
    with dense.open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(b"\0")
    assert image.checksum(sparse) != image.checksum(dense)
    shutil.rmtree(folder)


def test_images_of_other_recipes_go_when_nobody_has_used_them_for_long(
    cache: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    long_ago = 1_600_000_000
    for name in ("old", "used", "fresh"):
        (cache / "virtual" / name).mkdir(parents=True)
        (cache / "virtual" / name / "use.lock").touch()
    held = Image(cache / "virtual" / "used").use()
    for name in ("old", "used"):
        os.utime(cache / "virtual" / name / "use.lock", (long_ago, long_ago))
    with pytest.raises(BoardError):
        image.ready(Observer())
    os.close(held)
    assert left(cache) == {"used", "fresh"}


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = recipe.digest()
    changed = shutil.copytree(recipe.GUEST, tmp_path / "guest")
    monkeypatch.setattr(recipe, "GUEST", changed)
    assert recipe.digest() == before
    with (changed / "wheels.txt").open("a") as stream:
        stream.write("# another\n")
    assert recipe.digest() != before


def test_an_image_knows_the_versions_of_its_packages(virtual_board: Running) -> None:
    """The recipe says which packages, the archive of that day what they are."""
    versions = dict(line.split(" ") for line in virtual_board.packages.read_text().splitlines())
    assert set(recipe.listed("packages.txt")) <= set(versions)
    kernel = next(name for name in versions if name.startswith("linux-image-6"))
    with contextlib.closing(ssh.connect(Address.parse(virtual_board.url))) as shell:
        assert shell.run("uname -r").stdout.strip() == kernel.removeprefix("linux-image-")
        python_there = shell.run("python3 -c 'import sys; print(*sys.version_info[:3], sep=str(chr(46)))'")
    assert versions["python3.11"].startswith(python_there.stdout.strip() + "-")
    assert all(version[0].isdigit() for version in versions.values())


def test_other_packages_are_another_epoch(virtual_board: Running) -> None:
    profile = profiles.load("rpi4")
    digests = (file_digest(virtual_board.packages), "of another day")
    assert len({version.emulation(profile, digest) for digest in digests}) == 2
    pricing = CycleModel.of(profile)
    with VirtualBoard(virtual_board, profile, pricing) as board:
        assert version.emulation(profile, digests[0]) in str(board.facts.kernel)


def test_every_wheel_is_pinned_by_version_and_hash() -> None:
    wheels = recipe.listed("wheels.txt")
    assert all("==" in line and " --hash=sha256:" in line for line in wheels)
    (runtime,) = (line for line in wheels if line.startswith("onnxruntime=="))
    assert tuple(map(int, runtime.split("==")[1].split()[0].split(".")[:2])) < (1, 29)
