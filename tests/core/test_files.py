"""Files are written wholly or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.core.errors import EdgeoptError
from edgeopt.core.files import write_atomically

LIMITED = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from edgeopt.core.errors import EdgeoptError
from edgeopt.core.files import write_atomically
try:
    write_atomically(Path(sys.argv[1]), b"x" * 2000)
except EdgeoptError as error:
    print(error.message)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Empty: `tmp_path` itself also holds the test's home."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_the_content_is_there_and_nothing_else(folder: Path) -> None:
    write_atomically(folder / "a", b"one")
    write_atomically(folder / "a", b"two")
    assert (folder / "a").read_bytes() == b"two"
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_the_umask_decides_who_may_read_it(folder: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(folder / "a", b"")
    finally:
        os.umask(before)
    assert (folder / "a").stat().st_mode & 0o777 == 0o644


def test_no_folder_is_one_error(folder: Path) -> None:
    with pytest.raises(EdgeoptError, match="cannot write"):
        write_atomically(folder / "none" / "a", b"")


def test_a_write_that_fails_half_way_leaves_the_old_file(folder: Path) -> None:
    (folder / "a").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder / "a")], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").read_bytes() == b"old"
