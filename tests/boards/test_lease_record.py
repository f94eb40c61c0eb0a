"""The file of a lease: damaged, left by another boot, replaced by somebody, or shared by two users."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.boards.dialogue import Dialogue
from edgeopt.core.errors import CommandError
from tests.boards.claims import ANN, BOB, record, runners
from tests.boards.virtual.processes import wait_until


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"[1]", b'{"boot": "another"}', b"\0" * 4096])
def test_a_damaged_record_is_made_anew_and_tokens_still_grow(
    content: bytes, talk: Callable[[], Dialogue]
) -> None:
    first = talk()
    token = ANN.take(first, "kitchen").token
    first.close()
    time.sleep(0.01)
    Path(os.environ["EDGEOPT_LEASE_DIR"], "edgeopt.lease").write_bytes(content)
    assert BOB.take(talk(), "kitchen").token > token


def test_what_another_boot_has_left_holds_nobody_up(talk: Callable[[], Dialogue]) -> None:
    first = talk()
    first.ask("lock", 10, owner="ann@desk", why="", for_s=1e6)
    path = Path(os.environ["EDGEOPT_LEASE_DIR"], "edgeopt.lease")
    path.write_text(json.dumps(record() | {"boot": "of yesterday"}))
    BOB.take(first, "kitchen")


@pytest.mark.parametrize("kind", ["symbolic", "hard", "folder", "large"])
def test_what_somebody_has_put_in_its_place_is_refused(
    kind: str, talk: Callable[[], Dialogue], tmp_path: Path
) -> None:
    path, target = Path(os.environ["EDGEOPT_LEASE_DIR"], "edgeopt.lease"), tmp_path / "precious"
    target.write_text("mine")
    if kind == "symbolic":
        path.symlink_to(target)
    elif kind == "hard":
        path.hardlink_to(target)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"x" * 100_000)
    with pytest.raises(CommandError, match=r"edgeopt\.lease"):
        ANN.take(talk(), "kitchen")
    assert target.read_text() == "mine"


def test_a_folder_of_leases_that_is_not_there_is_named_by_its_variable(
    talk: Callable[[], Dialogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEOPT_LEASE_DIR", "/nowhere")
    with pytest.raises(CommandError, match="EDGEOPT_LEASE_DIR names /nowhere, and there is no such folder"):
        ANN.take(talk(), "kitchen")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_of_one_board_keep_each_other_out(talk: Callable[[], Dialogue], tmp_path: Path) -> None:
    shared, script = Path(os.environ["EDGEOPT_LEASE_DIR"]), tmp_path / "runner.py"
    for folder in (shared, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder not in (Path("/"), Path("/tmp")):
            folder.chmod(0o755)
    shared.chmod(0o1777)
    tmp_path.chmod(0o755)
    from edgeopt.resources import resource

    script.write_bytes(Path(resource("firmware_scripts/edgeopt_runner.py")).read_bytes())
    request = {"version": 1, "id": 1, "op": "lease", "owner": "guest@lab", "command": "x", "pid": 1,
               "nonce": "n", "ttl_s": 60}  # fmt: skip

    def as_nobody() -> dict[str, object]:
        home = tmp_path / "nobody"
        home.mkdir(exist_ok=True)
        os.chown(home, 65534, 65534)
        ran = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", script, home],
            input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.stdout, ran.stderr
        return dict(json.loads(ran.stdout)["ok"])

    assert "token" in as_nobody()
    first = talk()
    ANN.take(first, "kitchen")  # the file is the other user's
    assert as_nobody()["held"]["owner"] == "ann@desk"  # type: ignore[index]
    first.close()
    wait_until(lambda: not runners())
    assert "token" in as_nobody()
