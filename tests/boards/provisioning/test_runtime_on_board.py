"""The runtime environment of a virtual board: made of wheels that are sent, or said why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boards.provisioning.boards import Board, run, states

pytestmark = pytest.mark.timeout(900)


@pytest.mark.long  # pip takes an emulated core a minute: see test_wheels_sent
def test_an_environment_is_made_from_wheels_that_are_sent(board: Board, unleased: None) -> None:
    """Of a small package, by a pip that was sent too, since this Debian has no ensurepip."""
    told = {"requirements": ("packaging",), "modules": ("packaging",)}
    url = board.running.url
    before = board.root("find /home -type f | sort")
    done = run(url, "do", ["runtime"], **told)
    assert states(done) == {"runtime": "changed"}, done.results[0].reason
    assert done.python == "/home/board/.local/share/edgeopt/runtime/bin/python"
    assert done.url.endswith(f"?python={done.python}&config={board.running.folder}/ssh_config")
    assert board.root(f"{done.python} -c 'import packaging; print(packaging.__file__)'").startswith(
        "/home/board/.local"
    )
    assert states(run(url, "do", ["runtime"], **told)) == {"runtime": "unchanged"}
    board.root(f"rm -r {Path(done.python).parent.parent}/lib/python3.11/site-packages/packaging")
    assert states(run(url, "check", ["runtime"], **told)) == {"runtime": "would-change"}
    assert states(run(url, "undo", ["runtime"], **told)) == {"runtime": "restored"}
    left = set(board.root("find /home -type f | sort").split()) - set(before.split())
    assert {Path(name).parts[4] for name in left} == {"edgeopt"}  # ~/.cache/edgeopt
    assert all(name.startswith("/home/board/.cache/edgeopt/") for name in left)


def test_without_pip_and_wheels_the_package_is_named(board: Board, unleased: None) -> None:
    done = run(board.running.url, "do", ["runtime"], from_index=True)
    assert states(done) == {"runtime": "failed"}
    assert "sudo apt-get install python3-venv" in str(done.results[0].reason)
    assert "runtime" not in board.root("ls /home/board/.local/share/edgeopt 2> /dev/null || :")


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_the_real_runtime_measures_afterwards(board: Board) -> None:
    done = run(board.running.url, "do", ["runtime"])
    assert states(done) == {"runtime": "changed"}, done.results[0].reason
    version = board.root(f"{done.python} -c 'import onnxruntime; print(onnxruntime.__version__)'")
    assert version.startswith("1.2")
