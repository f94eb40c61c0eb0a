"""Every fault of every family; a sample of them, another each day, in `make test`, all in `make accept`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeopt.boards import connected, dialogue, lease
from edgeopt.boards.transports import _ssh_connection, ssh
from tests.faults.bench import Bench, Fault, check
from tests.faults.sample import sampled
from tests.sshd import Sshd

FAMILIES = ("candidates", "network", "storage", "software", "sharing")
FAULTS: dict[str, Fault] = {
    name: fault
    for family in FAMILIES
    for name, fault in importlib.import_module(f"tests.faults.{family}").FAULTS.items()
}


@pytest.fixture
def bench(
    make_sshd: Callable[[str], Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A board whose silence is noticed in seconds instead of minutes."""
    monkeypatch.setattr(lease, "BEAT_S", 1.0)
    monkeypatch.setattr(lease, "TTL_S", 20.0)
    monkeypatch.setattr(dialogue, "MISSED_BEATS", 8)
    monkeypatch.setattr(connected, "HELLO_DEADLINE_S", 20.0)
    monkeypatch.setattr(ssh, "STALL_LIMIT_S", 8.0)
    monkeypatch.setattr(_ssh_connection, "ANSWER_TIMEOUT_S", 8.0)
    sshd = make_sshd("board")
    made = Bench(sshd, tmp_path)
    with (Path.home() / ".ssh" / "known_hosts").open("a") as file:
        file.write(sshd.known_hosts_line.replace(str(sshd.port), str(made.proxy.port)))
    yield made
    made.close()


@pytest.mark.parametrize("name", sampled(FAULTS))
def test_fault(name: str, bench: Bench) -> None:
    check(bench, FAULTS[name])


def test_there_are_enough_faults() -> None:
    assert len(FAULTS) >= 25
