"""What `edgeopt package` makes is installed, with the real runtime; what the host refuses devices refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeopt.field.keyring import Keyring
from edgeopt.field.trust import FIRST
from tests.field import made
from tests.field.device.agents import Agent, module
from tests.field.test_tampering import FORMS


def device(folder: Path, keyring: Keyring) -> Agent:
    agent = Agent(folder / "device", stand_in=False)
    agent.good("trust", stdin=(keyring.folder / FIRST).read_bytes())
    return agent


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa"])
def test_packages_are_installed_and_updated(algorithm: Any, folder: Path, tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "root=2/3", "targets=2/2", algorithm=algorithm)
    agent = device(tmp_path, keyring)
    other = made.study(tmp_path / "other", seed=1)
    for counter, study in ((7, folder), (8, other)):
        package = tmp_path / f"{counter}.edgepkg"
        made.package(package, study, keyring, counter=counter)
        answer = agent.good("install", package)
        assert (answer["counter"], answer["selftest"]["samples"]) == (counter, 3)
    assert agent.do("install", tmp_path / "7.edgepkg")["error"]["kind"] == "downgrade"
    assert agent.good("rollback")["counter"] == 7


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_the_host_refuses_is_refused(
    form: str, genuine: Path, keyring: Keyring, tmp_path: Path
) -> None:
    agent = module()
    unit = agent.Device(tmp_path / "device")
    unit.prepare()
    unit.trust((keyring.folder / FIRST).read_bytes())
    bad = tmp_path / "bad.edgepkg"
    bad.write_bytes(FORMS[form][0](genuine.read_bytes()))
    with pytest.raises(agent.Failed) as refused:
        unit.unpack(bad)
    assert refused.value.code == 6
    assert not any((unit.root / "versions").iterdir())
    assert not any((unit.root / "staging").iterdir())
