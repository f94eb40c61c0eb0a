"""Devices: real SSH servers of this machine, each with a home and a root folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import folder, run  # noqa: F401 - fixtures
from tests.field.fleet import releases
from tests.field.fleet.devices import Fleet
from tests.sshd import make_key


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    """A folder with one key and its root."""
    releases.keyring(tmp_path / "trust")
    return tmp_path / "trust"


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[[int], Fleet]]:
    """Starts so many devices; they are named in boards.toml, all in the group `all`."""
    fleets: list[Fleet] = []

    def make(count: int) -> Fleet:
        fleets.append(Fleet(tmp_path / "fleet", make_key(tmp_path / "identity"), count))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()
