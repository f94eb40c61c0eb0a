"""Fixtures for all tests: nobody's real home is read or written, and SSH servers are real ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sshd import Sshd, make_key

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Set before HOME is a fresh folder, or matplotlib searches all fonts again for each test.
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
# A shell starts what it puts in the background deaf to Ctrl-C, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test, without SSH agent, keys or boards."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("EDGEOPT_HOME", str(folder / ".config" / "edgeopt"))
    for name in ("SSH_AUTH_SOCK", "EDGEOPT_SSH_CONFIG", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the tools of virtual boards: nothing is on its PATH."""
    folder = tmp_path / "no tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("edgeopt.boards.virtual.tools.SYSTEM_FOLDERS", str(folder))
    return folder


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """The private key that the test's servers let in."""
    return make_key(tmp_path / "identity")


@pytest.fixture
def make_sshd(tmp_path: Path, identity: Path) -> Iterator[Callable[[str], Sshd]]:
    """Starts SSH servers by name; their host keys are trusted by nobody yet."""
    servers: list[Sshd] = []

    def make(name: str) -> Sshd:
        servers.append(Sshd(tmp_path / name, identity))
        return servers[-1].start()

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def sshd(make_sshd: Callable[[str], Sshd]) -> Sshd:
    """A running SSH server on loopback that is trusted: a board at `sshd.url`."""
    server = make_sshd("board")
    server.trust()
    return server
