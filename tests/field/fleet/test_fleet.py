"""Many devices through the command line: waves, a bad release, a killed rollout, rollback and status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.field.fleet.devices import Fleet
from tests.field.fleet.releases import keyring, release

Make = Callable[[int], Fleet]
Run = Callable[..., Ran]
SIZES = [pytest.param(10), pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


def installed(run: Run, fleet: Fleet, trust: Path, folder: Path) -> None:
    """Release 1 on all of them."""
    package = release(folder / "1.edgepkg", trust, 1)
    ran = run(
        "deploy", package, "--group", "all", "--trust", trust, "--canary", 0, "--waves", "100%", "--json"
    )
    assert ran.code == 0, ran.err
    assert fleet.serving == [1] * len(fleet)


@pytest.mark.parametrize("count", SIZES)
def test_a_fleet(count: int, make_fleet: Make, run: Run, trust: Path, tmp_path: Path) -> None:
    """5 % of the devices are broken in themselves: they trust somebody else, or are off."""
    fleet = make_fleet(count)
    fleet.name_them()
    installed(run, fleet, trust, tmp_path)

    # A bad release: the canaries keep what they had, nobody else hears of it.
    bad = release(tmp_path / "2.edgepkg", trust, 2, wrong=True)
    stopped = run("deploy", bad, "--group", "all", "--canary", 2, "--json")
    assert stopped.code == 5, stopped.err
    document = stopped.document
    assert document["verdict"] == "stopped"
    tried = [one for one in document["devices"] if one["state"] != "pending"]
    assert 1 <= len(tried) <= 2
    assert len(tried) < 0.05 * count or count < 50
    assert fleet.serving == [1] * count
    assert run("deploy", bad, "--group", "all", "--canary", 2, "--json").document["verdict"] == "stopped"

    # A good one: those that are broken in themselves are listed, and all others get it.
    broken, off = fleet[count // 2], fleet[count - 1]
    theirs = tmp_path / "theirs"
    keyring(theirs)
    (broken.root / "trust" / "root.json").write_bytes((theirs / "root.pub.json").read_bytes())
    off.sshd.kill()
    good = release(tmp_path / "3.edgepkg", trust, 3)
    ran = run("deploy", good, "--group", "all", "--canary", 2, "--wait", "0s", "--json")
    states = {one["name"]: one for one in ran.document["devices"]}
    assert ran.document["verdict"] == "incomplete", ran.err
    assert states[broken.name]["state"] == "failed"
    assert states[broken.name]["reason"]
    assert states[off.name]["state"] == "unreached"
    assert states[off.name]["last_seen"]["counter"] == 1
    assert fleet.serving.count(3) == count - 2
    assert ran.document["error"]["message"].startswith(broken.name)

    shown = run("status", "--group", "all", "--json")
    assert shown.code == 0
    by_name = {one["name"]: one for one in shown.document["devices"]}
    assert by_name["pi-0"]["counter"] == 3
    assert not by_name[off.name]["reached"]
    assert by_name[off.name]["last_seen"]["counter"] == 1
    assert "silent" in run("status", "--group", "all").out

    # Back again: who does not serve it stays as it is, and repeating it takes nobody back twice.
    for _ in range(2):
        back = run("rollback", "--group", "all", "--from", 3, "--wait", "0s", "--json")
        assert back.code == 4, back.err  # one is off
        assert fleet.serving[:2] == [1, 1]
        assert fleet.serving.count(3) == 0
    assert {one["state"] for one in back.document["devices"]} == {"unchanged", "unreached"}


def test_a_killed_rollout_goes_on_where_it_was(
    make_fleet: Make,
    run: Run,
    trust: Path,
    tmp_path: Path,
) -> None:
    fleet = make_fleet(4)
    fleet.name_them()
    package = release(tmp_path / "1.edgepkg", trust, 1)
    words = ["deploy", package, "--group", "all", "--trust", trust, "--concurrency", 1, "--json"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "edgeopt", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while fleet.serving.count(1) < 2 and killed.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert fleet.serving.count(1) in (2, 3)
    began = time.time()
    ran = run(*words)
    assert ran.code == 0, ran.err
    assert "going on with" in ran.err
    assert fleet.serving == [1] * 4
    before = [one["name"] for one in ran.document["devices"] if one["time"] < began]
    assert before == ["pi-0", "pi-1"][: len(before)]
    assert before


def test_a_dry_run_shows_the_waves_and_reaches_nobody(
    make_fleet: Make,
    run: Run,
    trust: Path,
    tmp_path: Path,
) -> None:
    fleet = make_fleet(1)
    fleet.name_them()
    package = release(tmp_path / "1.edgepkg", trust, 1)
    ran = run("deploy", package, "--group", "all", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["waves"] == [{"wave": 1, "canary": False, "devices": ["pi-0"]}]
    assert not fleet[0].root.exists()
    assert not (fleet[0].sshd.home / ".cache").exists()


def test_one_device_fails_with_its_own_exit_code(
    make_fleet: Make,
    run: Run,
    trust: Path,
    tmp_path: Path,
) -> None:
    fleet = make_fleet(1)
    fleet.name_them()
    ran = run("deploy", release(tmp_path / "1.edgepkg", trust, 1), "--board", "pi-0", "--json")
    assert ran.code == 6, ran.err
    assert set(ran.document["error"]) == {"kind", "message", "hint"}
    fleet[0].sshd.kill()
    ran = run("status", "--board", "pi-0", "--json")
    assert ran.code == 4
    assert ran.document["error"]["kind"] == "connect"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["deploy", "none.edgepkg", "--board", "local"], 2, "no package"),
        (["deploy", "x.edgepkg"], 6, "x.edgepkg"),
        (["status"], 2, "which devices"),
        (["status", "--board", "nobody"], 2, "unknown board"),
        (["rollback", "--group", "nobody"], 2, "group"),
        (["status", "--board", "virtual:rpi4"], 4, "is not up"),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], code: int, says: str, run: Run) -> None:
    Path("x.edgepkg").write_bytes(b"nothing of the kind")
    ran = run(*words)
    assert ran.code == code, ran.err
    assert says in ran.err
