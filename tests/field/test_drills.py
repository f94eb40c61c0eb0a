"""Days that come: a key is lost, a key has leaked, a root ends. Each as an operator would go through it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgeopt.core.errors import ConfigError, PackageError, SignatureError
from edgeopt.field import keys
from edgeopt.field.keyring import RETIRED, Keyring
from edgeopt.field.roots import ROLES
from edgeopt.field.trust import FIRST, Trust
from edgeopt.field.verify import verify
from tests.field import made


def device(keyring: Keyring, path: Path) -> Trust:
    """What a device trusts that was given the first root, and nothing since."""
    path.write_bytes((keyring.folder / FIRST).read_bytes())
    return Trust.open(path)


@pytest.fixture
def serious(tmp_path: Path) -> Keyring:
    return made.keyring(tmp_path / "keys", "root=2/3", "targets=1/2", "timestamp")


def test_one_root_key_of_three_is_lost(serious: Keyring, folder: Path, tmp_path: Path) -> None:
    far_away = device(serious, tmp_path / "root.json")
    (serious.folder / "root-2.key").unlink()
    assert serious.rotate(["root"]) == 2
    renewed = Keyring.open(serious.folder)
    assert {key["name"] for key in renewed.listing()["keys"] if "root" in key["roles"]} == {
        "root-4", "root-5", "root-6",
    }  # fmt: skip
    made.package(tmp_path / "p", folder, renewed)
    assert verify(tmp_path / "p", far_away).trust.root.version == 2


def test_two_root_keys_of_three_are_lost(serious: Keyring, folder: Path, tmp_path: Path) -> None:
    """Roots cannot change any more; what is installed runs on, and targets keys sign until the root ends."""
    far_away = device(serious, tmp_path / "root.json")
    for number in (1, 2):
        (serious.folder / f"root-{number}.key").unlink()
    with pytest.raises(SignatureError, match="1 of the 2 keys that role root needs") as said:
        serious.rotate(["targets"])
    assert "--key" in str(said.value.hint)
    assert not (serious.folder / f"2.{FIRST}").exists()
    assert sorted(p.name for p in serious.folder.glob("targets*")) == ["targets-1.key", "targets-2.key"]
    made.package(tmp_path / "p", folder, serious)
    assert verify(tmp_path / "p", far_away).product == "doorbell"

    # Only by hand, on every device: a new root that the old one knows nothing of.
    anew = made.keyring(tmp_path / "anew")
    made.package(tmp_path / "q", folder, anew, counter=8)
    with pytest.raises(SignatureError, match="not the root version 1 that is trusted here"):
        verify(tmp_path / "q", far_away)
    assert verify(tmp_path / "q", device(anew, tmp_path / "root.json")).counter == 8


def test_a_lost_key_that_somebody_kept_elsewhere_is_brought_along(serious: Keyring, tmp_path: Path) -> None:
    vault = tmp_path / "vault"
    vault.mkdir()
    for number in (1, 2, 3):
        (serious.folder / f"root-{number}.key").rename(vault / f"root-{number}.key")
    brought = [keys.load(vault / f"root-{number}.key") for number in (1, 3)]
    assert serious.rotate(["timestamp"], more=brought) == 2


def test_a_targets_key_has_leaked(serious: Keyring, folder: Path, tmp_path: Path) -> None:
    awake, asleep = (device(serious, tmp_path / name) for name in ("awake.json", "asleep.json"))
    leaked = keys.load(serious.folder / "targets-2.key")
    old_chain = serious.trust
    assert serious.revoke("targets-2") == 2
    renewed = Keyring.open(serious.folder)
    made.package(tmp_path / "good", folder, renewed, counter=8)
    awake = verify(tmp_path / "good", awake).trust

    thief = made.contents(tmp_path / "good")
    (tmp_path / "evil").write_bytes(made.sealed(thief, old_chain, [leaked], counter=9, check=False))
    with pytest.raises(SignatureError, match="revoked, it was one until root version 1"):
        verify(tmp_path / "evil", awake)
    # A device that has not seen the new root cannot know: this is what a pull repository's timestamp is for.
    with pytest.raises(PackageError, match=r"manifest\.json is of doorbell 8"):
        verify(tmp_path / "evil", asleep)
    (tmp_path / "evil").write_bytes(made.sealed(thief, renewed.trust, [leaked], counter=8, check=False))
    with pytest.raises(SignatureError, match="revoked"):
        verify(tmp_path / "evil", asleep)
    with pytest.raises(ConfigError, match=r"may not sign packages.*and was revoked"):
        made.sealed(thief, renewed.trust, [leaked])


def test_the_last_key_of_a_role_is_rotated_not_revoked(tmp_path: Path) -> None:
    simple = made.keyring(tmp_path / "keys")
    with pytest.raises(ConfigError, match="fewer keys than the 1 it needs") as said:
        simple.revoke("edgeopt")
    assert "rotate" in str(said.value.hint)


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa"])
def test_the_one_key_of_the_simple_form_is_rotated(algorithm: str, folder: Path, tmp_path: Path) -> None:
    simple = made.keyring(tmp_path / "keys", algorithm=algorithm)
    far_away = device(simple, tmp_path / "root.json")
    made.package(tmp_path / "before", folder, simple)
    assert simple.rotate(ROLES, algorithm) == 2  # type: ignore[arg-type]
    again = Keyring.open(simple.folder)
    assert again.rotate(ROLES, algorithm) == 3  # type: ignore[arg-type]
    latest = Keyring.open(simple.folder)
    assert sorted(p.name for p in latest.folder.iterdir()) == [
        "2.root.pub.json", "3.root.pub.json", "edgeopt-3.key", RETIRED, "root.pub.json",
    ]  # fmt: skip
    assert sorted(p.name for p in (latest.folder / RETIRED).iterdir()) == ["edgeopt-2.key", "edgeopt.key"]
    made.package(tmp_path / "after", folder, latest, counter=8)
    assert verify(tmp_path / "after", far_away).trust.root.version == 3
    with pytest.raises(SignatureError, match="revoked, it was one until root version 1"):
        verify(tmp_path / "before", latest.trust)


def test_a_root_that_ended_stops_installs_and_the_next_one_goes_on(folder: Path, tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys")
    far_away = device(keyring, tmp_path / "root.json")
    in_six_years = datetime.now(UTC) + timedelta(days=6 * 365)
    made.package(tmp_path / "p", folder, keyring, expires=in_six_years + timedelta(days=30))
    with pytest.raises(SignatureError, match="root version 1 expired"):
        verify(tmp_path / "p", far_away, now=in_six_years)
    keyring.rotate(["timestamp"], expires=in_six_years.replace(microsecond=0) + timedelta(days=365))
    renewed = Keyring.open(keyring.folder)
    made.package(tmp_path / "p", folder, renewed, expires=in_six_years + timedelta(days=30))
    assert verify(tmp_path / "p", far_away, now=in_six_years).trust.root.version == 2


def test_a_package_from_before_the_first_root_that_is_known_here(folder: Path, tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "targets", "root")
    made.package(tmp_path / "old", folder, keyring)
    keyring.rotate(["timestamp"])
    newest = tmp_path / "newest.json"
    newest.write_bytes((keyring.folder / f"2.{FIRST}").read_bytes())
    with pytest.raises(SignatureError, match="its roots end at version 1, and those trusted here begin at 2"):
        verify(tmp_path / "old", Trust.of([("newest", newest.read_bytes())]))
    assert verify(tmp_path / "old", Keyring.open(keyring.folder).trust).trust.root.version == 2
