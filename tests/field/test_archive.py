from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError, EdgeoptError, PackageError
from edgeopt.field import archive, ustar
from tests.field import made

NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,12}(/[A-Za-z0-9._-]{1,12}){0,3}", fullmatch=True)
BASE = {"metadata/1.root.json": b"{}", "metadata/targets.json": b"{}"}


@given(st.dictionaries(NAMES, st.binary(max_size=1200), max_size=6))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, payload: dict[str, bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.edgepkg"
    members = payload | BASE
    try:
        ustar.check_names(ustar.ordered(members))
    except PackageError:
        with pytest.raises(PackageError):
            archive.write(path, members)
        return
    digest = archive.write(path, members)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made.contents(path) == members
    assert path.read_bytes() == made.plain(members)


def test_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    members = BASE | {"b": b"2", "a": b"1", "metadata/2.root.json": b"{}", "metadata/10.root.json": b"{}"}
    members |= {f"metadata/{n}.root.json": b"{}" for n in range(3, 10)}
    one = made.write(tmp_path / "one", members)
    other = made.write(tmp_path / "other", dict(reversed(members.items())))
    assert one.read_bytes() == other.read_bytes()
    assert list(archive.read(one).members)[9:] == ["metadata/10.root.json", "metadata/targets.json", "a", "b"]


def test_tar_reads_a_package(genuine: Path) -> None:
    listed = subprocess.run(["tar", "tf", genuine], capture_output=True, text=True, check=True).stdout.split()
    assert listed == list(archive.read(genuine).members)
    assert "manifest.json" in listed


def test_headers_are_those_of_the_standard(genuine: Path) -> None:
    """Python's own writer makes the same file: nothing in a header is of our invention."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in made.contents(genuine).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        ours = genuine.read_bytes()
        assert stream.getvalue()[: len(ours) - len(ustar.END)] == ours[: -len(ustar.END)]


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"m" * 3_000_001)
    path = made.write(tmp_path / "large", BASE | {"model": tmp_path / "model"})
    pieces = list(archive.read(path).stream("model"))
    assert len(pieces) == 3
    assert b"".join(pieces) == b"m" * 3_000_001
    assert path.stat().st_size % ustar.BLOCK == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil", "leads out of its folder"), ("a/../../evil", "leads out"), ("a/./b", "leads out"),
        ("/etc/passwd", "absolute path"), ("a b", "other characters"), ("a//b", "other characters"),
        ("ä", "other characters"), ("a\\b", "other characters"), ("a\nb", "other characters"),
        ("", "other characters"), ("x" * 101, "a name of 101 characters"),
        ("metadata/evil.json", "neither a root nor"), ("metadata/01.root.json", "neither a root nor"),
        ("metadata/3.root.json", "does not go 1, 2, 3"),
    ],
)  # fmt: skip
def test_a_name_that_could_mean_something_else_is_not_written(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=why):
        archive.write(tmp_path / "p", BASE | {name: b""})
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []


def test_a_file_is_not_a_folder_too(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="a is a file, and the folder of a/b"):
        archive.write(tmp_path / "p", BASE | {"a": b"", "a/b": b""})


def test_a_package_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="no such package"):
            archive.read(path)


def test_nothing_is_left_where_a_file_shrinks_while_it_is_packaged(tmp_path: Path) -> None:
    class Shrinking(type(tmp_path)):  # type: ignore[misc]
        def stat(self, **_: object) -> object:
            return type("Stat", (), {"st_size": 10})()

    (tmp_path / "model").write_bytes(b"123")
    with pytest.raises(EdgeoptError, match="changed from 10 to 3 bytes"):
        archive.write(tmp_path / "p", BASE | {"model": Shrinking(tmp_path / "model")})
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["model"]
