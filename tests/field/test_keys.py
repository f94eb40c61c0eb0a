from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeopt.core.errors import ConfigError, EdgeoptError, PackageError, SignatureError
from edgeopt.field import keys, pkcs11
from edgeopt.field.founding import create
from edgeopt.field.keyring import Keyring
from edgeopt.field.roots import RoleSpec
from edgeopt.field.trust import FIRST, Trust
from tests.field import made


def test_the_simple_form_is_one_private_file_and_one_public(tmp_path: Path) -> None:
    made.keyring(tmp_path / "keys")
    private, public = sorted((tmp_path / "keys").iterdir())
    assert (private.name, public.name) == ("edgeopt.key", "root.pub.json")
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    root = json.loads(public.read_bytes())["signed"]
    assert root["consistent_snapshot"] is True
    assert {role: len(said["keyids"]) for role, said in root["roles"].items()} == dict.fromkeys(
        ("root", "targets", "snapshot", "timestamp"), 1
    )


def test_roles_have_keys_of_their_own(tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "root=2/3", "targets=1/2", "timestamp")
    listed = keyring.listing()
    assert listed["thresholds"] == {"root": 2, "targets": 1, "snapshot": 1, "timestamp": 1}
    assert {key["name"]: key["roles"] for key in listed["keys"]} == {
        "root-1": ["root"], "root-2": ["root"], "root-3": ["root"], "targets-1": ["targets"],
        "targets-2": ["targets"], "timestamp-1": ["snapshot", "timestamp"],
    }  # fmt: skip
    assert all(key["here"] for key in listed["keys"])


@pytest.mark.parametrize("text", ["boss", "root=3/2", "root=0/1", "root=1", "root=1/", "targets=2/3/4"])
def test_a_role_that_makes_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="--role"):
        RoleSpec.parse(text)


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa"])
def test_a_key_signs_the_same_with_the_same_signature(algorithm: keys.Algorithm, tmp_path: Path) -> None:
    keys.save(tmp_path / "a.key", keys.generate(algorithm), None)
    one, other = keys.load(tmp_path / "a.key"), keys.load(tmp_path / "a.key")
    assert one.sign(b"payload").signature == other.sign(b"payload").signature
    one.public_key.verify_signature(one.sign(b"payload"), b"payload")


def test_an_encrypted_key_wants_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.PASSPHRASE, raising=False)
    path = tmp_path / "a.key"
    keys.save(path, keys.generate("ed25519"), "open sesame")
    with pytest.raises(ConfigError, match="is encrypted"):
        keys.load(path)
    with pytest.raises(ConfigError, match="wrong passphrase"):
        keys.load(path, "open barley")
    keys.load(path, "open sesame")
    monkeypatch.setenv(keys.PASSPHRASE, "open sesame")
    keys.load(path)
    keys.save(tmp_path / "plain.key", keys.generate("ed25519"), None)
    keys.load(tmp_path / "plain.key")  # a passphrase that is meant for others does no harm


def test_a_file_that_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    with pytest.raises(ConfigError, match="cannot read the key"):
        keys.load(path)
    path.write_bytes(b"hello")
    with pytest.raises(ConfigError, match="not a private key in PEM"):
        keys.load(path)
    for other in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        path.write_bytes(
            other.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        with pytest.raises(ConfigError, match="not a key of Ed25519 or ECDSA P-256"):
            keys.load(path)


def test_a_key_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("precious")
    with pytest.raises(EdgeoptError, match="cannot write"):
        keys.save(tmp_path / "a.key", keys.generate("ed25519"), None)
    assert (tmp_path / "a.key").read_text() == "precious"
    with pytest.raises(ConfigError, match="is not empty"):
        made.keyring(tmp_path)


def test_a_key_that_somebody_else_holds(tmp_path: Path) -> None:
    hers = keys.generate("ecdsa")
    (tmp_path / "alice.pub.pem").write_bytes(keys.public_pem(hers))
    public = keys.load_public(str(tmp_path / "alice.pub.pem"))
    specs = [RoleSpec("targets", 1, 2)]
    keyring = create(tmp_path / "keys", specs, public={"targets": [public]})
    here = {key["name"]: key["here"] for key in keyring.listing()["keys"] if "targets" in key["roles"]}
    assert here == {"targets-1": False, "targets-2": True}
    with pytest.raises(ConfigError, match="more public keys"):
        create(tmp_path / "others", [RoleSpec("targets")], public={"targets": [public, public]})
    assert not (tmp_path / "others").exists()
    assert keyring.rotate(["targets"], public={"targets": [public]}) == 2


def test_what_cannot_be_trusted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to trust: no such file"):
        Trust.open(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"nothing to trust: no root\.pub\.json"):
        Trust.open(tmp_path)
    (tmp_path / FIRST).write_text("{}")
    with pytest.raises(PackageError, match="is not TUF metadata"):
        Trust.open(tmp_path)


def test_a_root_that_is_missing_from_the_chain(tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys")
    for _ in range(2):
        Keyring.open(keyring.folder).rotate(["timestamp"])
    assert Trust.open(keyring.folder).root.version == 3
    (keyring.folder / f"2.{FIRST}").unlink()
    with pytest.raises(SignatureError):
        Trust.open(keyring.folder)


def test_snapshot_goes_with_timestamp(tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "timestamp")
    keyring.rotate(["timestamp"])
    listed = {key["name"]: key for key in Keyring.open(keyring.folder).listing()["keys"]}
    assert listed["timestamp-2"]["roles"] == ["snapshot", "timestamp"]
    assert (listed["timestamp-1"]["roles"], listed["timestamp-1"]["revoked_in"]) == ([], 2)


def test_rotating_one_role_leaves_the_others(tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys")
    keyring.rotate(["targets"])
    listed = {key["name"]: key for key in Keyring.open(keyring.folder).listing()["keys"]}
    assert listed["edgeopt"]["roles"] == ["root", "snapshot", "timestamp"]
    assert listed["edgeopt-2"]["roles"] == ["targets"]
    assert listed["edgeopt"]["here"]


@pytest.mark.parametrize("which", ["nobody", "", "targets-9"])
def test_a_key_that_is_not_there_is_not_revoked(which: str, tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "targets=1/2")
    with pytest.raises(ConfigError, match=r"(no key|\d keys) "):
        keyring.revoke(which)


def test_a_uri_of_a_token() -> None:
    uri = "pkcs11:token=my%20token;id=%03?module-path=/usr/lib/x.so&pin-source=file:/run/pin"
    found = pkcs11.parse(uri)
    assert (found.token, found.key_id) == ("my token", 3)
    assert (found.module, found.pin_source) == ("/usr/lib/x.so", "file:/run/pin")
    assert pkcs11.parse("pkcs11:").key_id == 2
    for wrong in ("pkcs11:tokn=a", "pkcs11:id=%01%02", "pkcs11:token"):
        with pytest.raises(ConfigError, match="--key"):
            pkcs11.parse(wrong)


def test_the_pin_of_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pkcs11.PIN, raising=False)
    with pytest.raises(ConfigError, match="wants a PIN"):
        pkcs11.parse("pkcs11:token=a").pin()
    monkeypatch.setenv(pkcs11.PIN, "1234")
    assert pkcs11.parse("pkcs11:token=a").pin() == "1234"
    (tmp_path / "pin").write_text("5678\n")
    assert pkcs11.parse(f"pkcs11:token=a?pin-source=file:{tmp_path}/pin").pin() == "5678"
    with pytest.raises(ConfigError, match="cannot read the PIN"):
        pkcs11.parse(f"pkcs11:token=a?pin-source={tmp_path}/none").pin()


def test_keys_are_never_left_readable_by_others(tmp_path: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "root=1/2")
    keyring.rotate(["root"])
    every = [*keyring.folder.rglob("*.key")]
    assert len(every) == 2 + 2 + 2
    assert {path.stat().st_mode & 0o077 for path in every} == {0}
    shutil.rmtree(keyring.folder)
