"""Initial RAM disks."""

from __future__ import annotations

import gzip
from pathlib import Path

from edgeopt.boards.virtual import cpio


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each entry, read as the kernel does."""
    found, at = {}, 0
    while True:
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        assert archive[at : at + 6] == b"070701"
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        begin = at + -(-(110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[begin : begin + size])
        at = begin + -(-size // 4) * 4


def test_folders_come_before_what_is_in_them_and_contents_are_whole(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "init").write_bytes(b"#!/bin/sh\n")
    for size in range(6):
        (tree / "bin" / f"of{'x' * size}").write_bytes(bytes([size]) * size)
    cpio.write(tree, tmp_path / "initrd")
    found = entries(gzip.decompress((tmp_path / "initrd").read_bytes()))
    assert next(iter(found)) == "bin"
    assert found["bin"] == (0o040755, b"")
    assert found["init"] == (0o100755, b"#!/bin/sh\n")
    assert all(found[f"bin/of{'x' * size}"][1] == bytes([size]) * size for size in range(6))


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "init").write_text("x")
    for name in ("a", "b"):
        cpio.write(tmp_path / "tree", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
