"""The same job over a real SSH server, which comes and goes."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

from tests.e2e.contract import check_error, check_result
from tests.e2e.program import Program, all_ended
from tests.sshd import Sshd

MakeSshd = Callable[[str], Sshd]
BUDGET = ("--budget", "2 trials", "--sampler", "random", "-o", "out")


def ssh_config(home: Path, hosts: dict[str, Sshd], *, jump: str, board: str) -> None:
    text = ""
    for name, server in hosts.items():
        text += f"Host {name}\nHostName 127.0.0.1\nPort {server.port}\nUser {getpass.getuser()}\n"
        text += f"IdentityFile {server.identity}\n" + (f"ProxyJump {jump}\n" if name == board else "")
    (home / ".ssh" / "config").write_text(text)


def test_over_ssh(inside: Program, model: Path, data: Path, sshd: Sshd, home: Path) -> None:
    ran = inside.optimize(model.name, "--data", data.name, "--threads", 1, "--board", sshd.url, *BUDGET)
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["board"].startswith(sshd.address)
    assert ran.document["provenance"] == "measured"
    kept = ran.document["verdict"] == "original"  # the very file that everything was compared with
    assert ran.document["accuracy"]["verified_on"] == ("host" if kept else "board")
    stored = {path.name for path in sshd.objects.iterdir()}
    assert ran.document["best"]["sha256"] in stored
    assert not (home / ".cache" / "edgeopt" / "objects").exists()  # nothing ran here
    assert all_ended(sshd.home) == []


def test_over_ssh_through_a_jump_host(
    inside: Program, model: Path, sshd: Sshd, make_sshd: MakeSshd, home: Path
) -> None:
    jump = make_sshd("jump")
    jump.trust()
    ssh_config(home, {"jump": jump, "kitchen": sshd}, jump="jump", board="kitchen")
    url = "ssh://kitchen?" + sshd.url.partition("?")[2]
    ran = inside.optimize(model.name, "--board", url, *BUDGET)
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["best"]["sha256"] in {path.name for path in sshd.objects.iterdir()}
    assert "Accepted publickey" in (jump.folder / "log").read_text()


def test_a_board_that_stays_away_ends_the_run_and_the_next_one_resumes(
    edgeopt: Program, inside: Program, model: Path, sshd: Sshd
) -> None:
    command = edgeopt.optimizing(model.name, "--board", sshd.url, "--wait", "3s", *BUDGET)
    running = edgeopt.start(*command)
    assert running.reaches("trial   2 "), running.err
    sshd.kill()
    ran = running.wait()
    assert ran.code == 4, ran.err
    assert "Traceback" not in ran.err
    check_error(ran.document)
    assert {"FAILED", "INFEASIBLE"}.isdisjoint(ran.err.split())
    assert (edgeopt.folder / "out" / "best.json").is_file()

    sshd.start()
    again = inside(*command)
    assert again.code == 0, again.err
    check_result(again.document)
    assert set(again.told).isdisjoint(ran.told)
    assert again.document["failed"] == 0


def test_a_board_that_comes_back_in_time_is_waited_for(edgeopt: Program, model: Path, sshd: Sshd) -> None:
    running = edgeopt.start(*edgeopt.optimizing(model.name, "--board", sshd.url, "--wait", "2m", *BUDGET))
    assert running.reaches("trial   1 "), running.err
    sshd.kill()
    assert running.reaches("is unreachable; trying for"), running.err
    sshd.start()
    ran = running.wait()
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["failed"] == 0
    assert sorted(ran.told) == list(range(ran.document["trials"]))
