"""Signatures and canonical forms: the agent's own code against `cryptography` and python-tuf."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.field.device.agents import SCRIPT, module
from tests.field.device.packages import EARLIER, LATER, ROLES, Key, Vendor, canonical, root, signed, targets


def key_bytes(key: Key) -> bytes:
    return bytes(module().public_key("a test", key.public)[1])


@pytest.mark.parametrize("by", ["openssl", "cryptography"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_right_signatures_are_right_and_all_others_wrong(
    kind: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, key, content = module(), Key(1, kind), b"what was signed"
    if by == "cryptography":
        monkeypatch.setattr(agent, "libcrypto", lambda: None)
    else:
        assert agent.libcrypto() is not None
    signature, public = bytes.fromhex(key.sign(content)), key_bytes(key)
    assert agent.is_signed(kind, public, signature, content)
    other = key_bytes(Key(2, kind))
    wrong = [signature[:-1], b"", signature + b"\0", bytes([signature[0] ^ 1, *signature[1:]]), bytes(64)]
    assert not any(agent.is_signed(kind, public, one, content) for one in wrong)
    assert not agent.is_signed(kind, other, signature, content)
    assert not agent.is_signed(kind, public, signature, content + b".")
    assert not agent.is_signed(kind, public[:-1] + bytes([public[-1] ^ 1]), signature, content)


@pytest.mark.parametrize("by", ["openssl", "cryptography"])
def test_a_device_signs_what_others_can_verify(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = module()
    if by == "cryptography":
        monkeypatch.setattr(agent, "libcrypto", lambda: None)
    public, signature = agent.sign(bytes(range(32)), b"a report")
    Ed25519PublicKey.from_public_bytes(public).verify(signature, b"a report")


@pytest.mark.parametrize(
    "public", ["00" * 31, "zz" * 32, "AA" * 32, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_keys_that_are_none_are_refused(public: str) -> None:
    agent = module()
    for scheme in (("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256"), ("rsa", "rsassa-pss-sha256")):
        key = {"keytype": scheme[0], "scheme": scheme[1], "keyval": {"public": public}}
        with pytest.raises(agent.Failed):
            agent.public_key("a test", key)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=8,
)


@given(JSON)
def test_the_canonical_form_is_that_of_tuf(value: Any) -> None:
    from securesystemslib.formats import encode_canonical

    assert module().canonical(value) == encode_canonical(value)


# Changes of good metadata: what python-tuf refuses the agent must refuse, too. The agent is stricter.
CHANGES: dict[str, Callable[[dict], object]] = {
    "nothing": lambda signed: None,
    "expired": lambda signed: signed.update(expires=EARLIER),
    "version 0": lambda signed: signed.update(version=0),
    "version as text": lambda signed: signed.update(version="1"),
    "no version": lambda signed: signed.pop("version"),
    "no expiry": lambda signed: signed.pop("expires"),
    "a date of another form": lambda signed: signed.update(expires="2099-01-01"),
    "another type": lambda signed: signed.update(_type="mirrors"),
    "another specification": lambda signed: signed.update(spec_version="2.0"),
    "no specification": lambda signed: signed.pop("spec_version"),
    "a field more": lambda signed: signed.update(more=[1]),
    "targets that are none": lambda signed: signed.update(targets=[]),
    "no targets": lambda signed: signed.update(targets={}),
    "a length below 0": lambda signed: signed["targets"]["manifest.json"].update(length=-1),
    "no hashes": lambda signed: signed["targets"]["manifest.json"].update(hashes={}),
}
SIGNERS: dict[str, list[Key]] = {
    "one of two": [Key(1)], "both": [Key(1), Key(2, "ecdsa")], "nobody": [],
    "a stranger": [Key(9)], "one and a stranger": [Key(1), Key(9)],
}  # fmt: skip


@pytest.mark.parametrize("threshold", [1, 2])
@pytest.mark.parametrize("signers", SIGNERS)
@pytest.mark.parametrize("change", CHANGES)
def test_what_python_tuf_refuses_is_refused(change: str, signers: str, threshold: int) -> None:
    keys = [Key(1), Key(2, "ecdsa")]
    named = signed(root(1, Vendor.roles([Key(1)], targets=(keys, threshold))), [Key(1)])
    document = json.loads(json.dumps(targets(1, {"manifest.json": b"x"})))
    CHANGES[change](document)
    content = signed(document, SIGNERS[signers])
    ours, theirs = accepts(named, content), tuf_accepts(named, content)
    assert theirs or not ours
    stricter = change in ("no targets", "a field more") or signers == "one and a stranger"
    assert ours == theirs or stricter


def accepts(named: bytes, content: bytes) -> bool:
    agent = module()
    try:
        (trusted,) = agent.chain([("the root", named)]).values()
        found = agent.Metadata("targets.json", content, "targets")
        found.require_no_stranger("targets", trusted)
        found.require_signed("targets", trusted)
        found.require_current(1_700_000_000)
    except agent.Failed:
        return False
    return True


def tuf_accepts(named: bytes, content: bytes) -> bool:
    from datetime import UTC, datetime

    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root, Targets
    from tuf.api.serialization import DeserializationError

    try:
        trusted = Metadata[Root].from_bytes(named)
        trusted.verify_delegate("root", trusted)
        found = Metadata[Targets].from_bytes(content)
        trusted.verify_delegate("targets", found)
        return not found.signed.is_expired(datetime.fromtimestamp(1_700_000_000, UTC))
    except (RepositoryError, DeserializationError, ValueError, AttributeError):
        return False


@pytest.mark.parametrize("signers", ["old and new", "old", "new", "nobody"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_roots_follow_each_other_as_python_tuf_lets_them(signers: str, version: int) -> None:
    agent, old, new = module(), Key(1), Key(2, "ecdsa")
    by = {"old and new": [old, new], "old": [old], "new": [new], "nobody": []}[signers]
    first = signed(root(1, Vendor.roles([old])), [old])
    second = signed(root(version, Vendor.roles([new])), by)
    try:
        ours = len(agent.chain([("1", first), ("2", second)])) == 2
    except agent.Failed:
        ours = False
    assert ours == tuf_updates(first, second)


def tuf_updates(first: bytes, second: bytes) -> bool:
    from tuf.api.exceptions import RepositoryError
    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType

    try:
        TrustedMetadataSet(first, EnvelopeType.METADATA).update_root(second)
    except RepositoryError:
        return False
    return True


def test_roles_are_those_of_tuf() -> None:
    assert module().ROLES == ROLES
    assert module().seconds("a test", LATER) == 4070908800
    assert (
        canonical({"b": [1, None], "a": "x\n"}) == module().canonical({"b": [1, None], "a": "x\n"}).encode()
    )


def test_its_public_key_is_one_that_anybody_reads(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    device = module().Device(tmp_path)
    name, text, _ = device.identity()
    assert device.identity()[:2] == (name, text)
    assert (tmp_path / "device.key").stat().st_mode & 0o777 == 0o600
    assert len(load_pem_public_key(text.encode()).public_bytes_raw()) == 32  # type: ignore[union-attr]
    assert base64.b64decode(text.splitlines()[1])


def test_it_starts_without_anything_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-S", SCRIPT, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rollback" in done.stdout
