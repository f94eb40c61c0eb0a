"""The whole way to a measurement, over a real SSH server, with each step failing for real."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.checks import Check
from edgeopt.boards.examination import examine
from tests.boards.interpreters import old_pythons
from tests.sshd import Sshd, free_port, make_key

LOCAL = profiles.load("local")


def examined(url: str) -> dict[str, Check]:
    return {check.name: check for check in examine("rack", Address.parse(url), LOCAL)}


def failing(url: str) -> list[Check]:
    return [check for check in examined(url).values() if check.verdict == "fail"]


def test_a_board_in_order_passes_each_step(sshd: Sshd) -> None:
    seen = examined(sshd.url)
    assert list(seen)[:3] == ["reachable", "host key", "login"]
    assert list(seen)[-2:] == ["Python", "runtime"]
    assert [check for check in seen.values() if check.verdict == "fail"] == []
    assert seen["runtime"].found.startswith("onnxruntime ")
    assert seen["home"].verdict == "ok"


def test_nobody_there() -> None:
    (check,) = failing(f"ssh://127.0.0.1:{free_port()}")
    assert (check.name, "Connection refused" in check.found) == ("reachable", True)
    assert "is it on" in str(check.fix)


def test_an_unknown_host_key(make_sshd: Callable[[str], Sshd]) -> None:
    stranger = make_sshd("stranger")
    (check,) = failing(stranger.url)
    assert check.name == "host key"
    assert f"--fingerprint {stranger.fingerprint}" in str(check.fix)


def test_a_key_that_is_not_let_in(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    (check,) = failing(f"{sshd.address}?identity={other}")
    assert (check.name, "ssh-copy-id" in str(check.fix)) == ("login", True)


def test_no_python_there(sshd: Sshd) -> None:
    (check,) = failing(f"{sshd.address}?identity={sshd.identity}&python=/nowhere/python3")
    assert check.name == "Python"
    assert "/nowhere/python3 does not run" in check.found
    assert "?python=/path" in str(check.fix)


@pytest.mark.parametrize("python", old_pythons())
def test_a_python_that_is_too_old(sshd: Sshd, python: str) -> None:
    (check,) = failing(f"{sshd.address}?identity={sshd.identity}&python={python}")
    assert check.name == "Python"
    assert "needed is 3.9" in check.found


def test_a_python_without_a_runtime(sshd: Sshd, tmp_path: Path) -> None:
    bare = tmp_path / "bare" / "python"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -I "$@"\n')
    bare.chmod(0o755)
    (check,) = failing(f"{sshd.address}?identity={sshd.identity}&python={bare}")
    assert check.name == "runtime"
    assert "cannot import onnxruntime" in check.found
    assert "-m pip install 'onnxruntime<1.29'" in str(check.fix)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(sshd: Sshd) -> None:
    sshd.home.chmod(0o500)
    (check,) = failing(sshd.url)
    assert check.name == "home"
