"""`edgeopt boards who|lock|unlock|clean`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.boards import lease
from edgeopt.boards.address import Address
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.lease import Claim
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core.errors import CommandError
from tests.boards.tiny import artifact, chain
from tests.boards.virtual.processes import wait_until
from tests.cli.conftest import Ran
from tests.sshd import Sshd

Run = Callable[..., Ran]
EVE = Claim(owner="eve@lab", command="edgeopt optimize e.onnx")


def test_a_board_is_reserved_shown_and_given_back(run: Run) -> None:
    assert run("boards", "who", "local").out == "local is free\n"
    locked = run("boards", "lock", "local", "--for", "2h", "--why", "new heat sink", "--json").document
    assert locked["reserved"]["owner"] == lease.owner()
    assert 7100 < locked["reserved"]["left_s"] <= 7200
    assert "reserved for 2.0 h more (new heat sink)" in run("boards", "who", "local").out
    shown = run("boards", "who", "local", "--json").document
    assert (shown["holder"], shown["reserved"]["why"]) == (None, "new heat sink")
    assert run("boards", "unlock", "local").out == "local is free\n"
    assert run("boards", "unlock", "local").out == "local was not reserved\n"


def test_what_others_wrote_is_one_line_and_moves_no_terminal(run: Run) -> None:
    why = "new\nheat\x1b[31m sink, größer"
    assert run("boards", "lock", "local", "--why", why, "--json").document["reserved"]["why"] == why
    shown = run("boards", "who", "local").out
    assert shown.count("\n") == 1
    assert "(new heat [31m sink, größer)" in shown
    run("boards", "unlock", "local")


def test_anothers_board_is_neither_locked_nor_unlocked_nor_cleaned_but_by_force(run: Run, sshd: Sshd) -> None:
    board = RunnerBoard("b", "local", lambda: ssh.connect(Address.parse(sshd.url)), claim=EVE)
    with contextlib.closing(board):
        for command in ("lock", "unlock", "clean"):
            ran = run("boards", command, sshd.url)
            assert ran.code == 4, command
            assert "is in use by eve@lab" in ran.err
            assert "edgeopt optimize e.onnx" in ran.err
        assert "eve@lab" in run("boards", "who", sshd.url).out
        freed = run("boards", "unlock", sshd.url, "--force", "--json").document["freed"]
        assert [one["owner"] for one in freed] == ["eve@lab"]
    wait_until(lambda: run("boards", "who", sshd.url).out.endswith("is free\n"), 30)


def test_clean_empties_the_cache_and_says_how_much_it_was(run: Run, sshd: Sshd, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    with contextlib.closing(ssh.connect(Address.parse(sshd.url))) as shell:
        shell.put(model.path, model.sha256)
        cache = sshd.objects.parent
        (cache / "objects" / ("a" * 64 + ".part")).write_bytes(b"half")
        (cache / "tmp" / "left").mkdir(parents=True)
        document = run("boards", "clean", sshd.url, "--json").document
        assert (document["objects"], document["bytes"]) == (2, model.size_bytes + 4)
        assert not cache.exists()
        shell.put(model.path, model.sha256)
    (cache / "mine").write_text("precious")
    assert run("boards", "clean", sshd.url).code == 0
    assert [path.name for path in cache.iterdir()] == ["mine"]


def test_clean_takes_nothing_from_a_client_that_counts(run: Run, sshd: Sshd, tmp_path: Path) -> None:
    """Virtual boards are shared without a lease: who counts there holds a lock."""
    model = artifact(tmp_path, chain(2))
    with contextlib.ExitStack() as stack:
        shells = [stack.enter_context(contextlib.closing(ssh.connect(Address.parse(sshd.url)))) for _ in "ab"]
        shells[0].put(model.path, model.sha256)
        counting, idle = (Dialogue(shell.start_runner(), "b") for shell in shells)
        stack.callback(idle.close)
        stack.callback(counting.close)
        idle.ask("who", 60.0)  # it has begun before anybody cleans
        counting.ask("claim", 60.0)
        ran = run("boards", "clean", sshd.url)
        assert ran.code == 4
        assert "another client counts on it" in ran.err
        assert (sshd.objects / model.sha256).is_file()
        counting.close()
        wait_until(lambda: run("boards", "clean", sshd.url).code == 0, 30)
        assert not sshd.objects.exists()
        later = Dialogue(shells[0].start_runner(), "b")
        stack.callback(later.close)
        later.ask("claim", 60.0)
        with pytest.raises(CommandError, match="what another client has begun to count has not ended"):
            idle.ask("claim", 0.5)  # one lock for who was there before and who came after


def test_an_unknown_board_is_wrong_usage(run: Run) -> None:
    for command in ("who", "lock", "unlock", "clean"):
        assert run("boards", command, "nowhere").code == 2
