"""Fixtures for all tests: nobody's real home is read or written, and SSH servers are real ones."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards import places, profiles
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.running import Running
from edgeopt.core import scratch
from edgeopt.core.cache import cache_folder
from edgeopt.graph.litert.environment import Environment, environment
from edgeopt.resources import resource
from tests import scheduling
from tests.faults import sample
from tests.sshd import Sshd, make_key

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# Set before HOME is a fresh folder, or matplotlib searches all fonts again for each test.
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
# Temporary files of this session, of which nothing may be left; those of `tmp_path` stay where they are kept.
if IS_WORKER:  # in a folder of its own, so that it can tell which of its tests left something there
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="w-")
else:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="edgeopt-tests-")
# This machine is one board: tests at once, and whoever else works here, would wait for each other.
os.environ["EDGEOPT_LEASE_DIR"] = tempfile.mkdtemp(prefix="leases-")
# A shell starts what it puts in the background deaf to Ctrl-C, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

LEFT_BY_WORKERS = pytest.StashKey[list[str]]()

CACHE = cache_folder()
"""Read before `home` gives each test a folder of its own."""
_PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")

IMAGES = places.cache()
"""Images of virtual boards are made once for all tests, and kept for the next time."""


TOLERANT = re.sub(
    r"^(\w+_drift|\w+_process_cv|max_other_cpu|max_swap_bytes) = \{ value = [^,]+",
    r"\1 = { value = 1e15",
    resource("device_profiles/local.toml").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)
"""This machine, whatever else it does."""


def pytest_report_header() -> str:
    return f"faults of today: EDGEOPT_FAULT_SEED={sample.seed()}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, those that take longest start first."""
    if IS_WORKER:
        known_s = scheduling.durations(scheduling.DURATIONS.read_text(encoding="utf-8"))
        modules = [item.nodeid.partition("::")[0] for item in items]
        order = scheduling.dealt(modules, known_s, int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
        items[:] = [items[number] for number in order]


_left_by: dict[str, str] = {}
"""What is in this process's folder of temporary files, and the test after which it first was there."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Once a test's fixtures are gone, too, look at what is there that was not there before."""
    yield
    names = {path.name for path in Path(tempfile.gettempdir()).iterdir()}
    for name in _left_by.keys() - names:
        del _left_by[name]
    _left_by.update(dict.fromkeys(names - _left_by.keys(), item.nodeid))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if anything is left where temporary files are made, but for what is meant to be."""
    shutil.rmtree(os.environ["EDGEOPT_LEASE_DIR"])
    folder = Path(tempfile.gettempdir())
    # What a test has killed leaves its folder until edgeopt runs again; torch keeps one for its compiler.
    meant = (scratch.PREFIX, "torchinductor_")
    left = [
        f"{path}, since {_left_by.get(path.name, 'no test')}"
        for path in sorted(folder.iterdir())
        if not path.name.startswith(meant)
    ]
    shutil.rmtree(folder)
    if IS_WORKER:
        session.config.workeroutput["left"] = left  # type: ignore[attr-defined]
        return
    left += session.config.stash.get(LEFT_BY_WORKERS, [])
    for line in left:
        print(f"\nleft in the temporary folder: {line}")
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of tests has ended; one that has crashed says nothing."""
    node.config.stash.setdefault(LEFT_BY_WORKERS, []).extend(
        getattr(node, "workeroutput", {}).get("left", [])
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test, without SSH agent, keys or boards.

    On a busy machine no drift is too much: what is measured here is the point of few tests.
    """
    folder = tmp_path / "home"
    devices = folder / ".config" / "edgeopt" / "devices"
    devices.mkdir(parents=True)
    (devices / "local.toml").write_text(TOLERANT, encoding="utf-8")
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("EDGEOPT_HOME", str(folder / ".config" / "edgeopt"))
    (folder / "leases").mkdir()
    monkeypatch.setenv("EDGEOPT_LEASE_DIR", str(folder / "leases"))
    for name in ("SSH_AUTH_SOCK", "EDGEOPT_SSH_CONFIG", "EDGEOPT_CACHE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def tools() -> Environment:
    """LiteRT's conversion tools, installed once for all tests in the cache of whoever runs them; two test
    processes at once share them."""
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEOPT_CACHE", str(CACHE))
    patch.setenv("PYENV_ROOT", str(_PYENV))
    try:
        return environment()
    finally:
        patch.undo()


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


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets a test start virtual boards of its own from the image that all tests share.

    What other tests counted is not shared: each counts for itself.
    """
    cache = tmp_path / "shared cache"
    cache.mkdir()
    (IMAGES / "virtual").mkdir(parents=True, exist_ok=True)
    (cache / "virtual").symlink_to(IMAGES / "virtual")
    monkeypatch.setenv("EDGEOPT_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session")
def virtual_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A virtual Raspberry Pi 4, shared by all tests of a process: who breaks a board starts an own one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEOPT_CACHE", str(IMAGES))
        patch.setenv("EDGEOPT_HOME", str(tmp_path_factory.mktemp("virtual-board")))
        board = machine.up(profiles.load("rpi4"))
    yield board
    machine.down(board)
