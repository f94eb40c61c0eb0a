"""One study, its keys and its package, which nobody changes; and devices: real SSH servers of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeopt.field.keyring import Keyring
from tests.field import made, releases
from tests.field.devices import Fleet
from tests.sshd import make_key


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.study(tmp_path_factory.mktemp("study") / "out")


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Two of three root keys, two of two for targets: thresholds that can be missed."""
    place = tmp_path_factory.mktemp("keys") / "keys"
    return made.keyring(place, "root=2/3", "targets=2/2", "timestamp")


@pytest.fixture(scope="session")
def genuine(folder: Path, keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "genuine.edgepkg"
    made.package(path, folder, keyring)
    return path


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
