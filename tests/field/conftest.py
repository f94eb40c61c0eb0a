"""One study, its keys and its package for all tests of this folder: nobody changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.field.keyring import Keyring
from tests.field import made


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
