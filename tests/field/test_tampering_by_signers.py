"""What somebody with some of the keys could do, and metadata that says the same otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from edgeopt.core.errors import PackageError
from edgeopt.field import keys, roots, sign
from edgeopt.field.keyring import Keyring
from edgeopt.field.metadata import serialised
from edgeopt.field.trust import Trust
from edgeopt.field.verify import verify
from tests.field import made
from tests.field.refusals import refused

METADATA = ("metadata/1.root.json", "metadata/targets.json")


def test_an_expired_package_and_an_expired_root(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    content = genuine.read_bytes()
    later = made.CREATED + timedelta(days=366)
    assert "metadata/targets.json expired at" in refused(tmp_path, keyring, content, now=later)
    message = refused(tmp_path, keyring, content, now=datetime.now(UTC) + timedelta(days=5 * 366))
    assert message.startswith("root version 1 expired at")


def test_a_clock_that_was_set_back_changes_nothing(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    """The root was made three days after this package ended: it has expired, whatever the clock says."""
    members = made.contents(genuine)
    signers = keyring.signers(keyring.trust.root.roles["targets"].keyids)
    ended = made.sealed(members, keyring.trust, signers, expires=made.CREATED + timedelta(hours=1))
    message = refused(tmp_path, keyring, ended, now=datetime(1970, 1, 1, tzinfo=UTC))
    assert "metadata/targets.json expired at" in message


def test_the_wrong_role_too_few_and_strangers(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    members, root = made.contents(genuine), keyring.trust.root
    targets = keyring.signers(root.roles["targets"].keyids)
    others = {role: keyring.signers(root.roles[role].keyids)[:2] for role in ("root", "timestamp")}
    stranger = keys.FileSigner(keys.generate("ed25519"))

    def said(*signers: object) -> str:
        return refused(
            tmp_path,
            keyring,
            made.sealed(members, keyring.trust, signers, check=False),  # type: ignore[arg-type]
        )

    assert "signed by 0 of the 2 keys that role targets needs" in said()
    assert "signed by 1 of the 2 keys that role targets needs" in said(targets[0])
    assert "not one of role targets in root version 1: it is one of role root" in said(*others["root"])
    assert "it is one of role snapshot, timestamp" in said(*others["timestamp"])
    assert "not one of role targets in root version 1" in said(*targets, stranger)


def test_one_key_under_two_names_is_one_signature(tmp_path: Path, folder: Path) -> None:
    keyring = made.keyring(tmp_path / "keys", "targets=1/2")
    root = deepcopy(keyring.trust.root)
    key = root.keys[root.roles["targets"].keyids[0]]
    twin = deepcopy(key)
    twin.keyid = "f" * 64
    root.roles["targets"].keyids = [key.keyid, twin.keyid]
    root.roles["targets"].threshold, root.keys[twin.keyid] = 2, twin
    content = roots.signed(root, None, keyring.signers(root.roles["root"].keyids))
    trust = Trust.of([("root", content)])
    signer = keyring.signers([key.keyid])[0]
    members = {"manifest.json": b"{}"}
    listed = sign.targets({"manifest.json": (2, "0" * 64)}, product="p", counter=1, expires=made.CREATED)
    metadata = Metadata(listed)
    metadata.sign(signer)
    signature = deepcopy(metadata.signatures[key.keyid])
    signature.keyid = twin.keyid
    metadata.signatures[twin.keyid] = signature
    chain = {"metadata/1.root.json": content, "metadata/targets.json": serialised(metadata)}
    (tmp_path / "p").write_bytes(made.plain(members | chain))
    with pytest.raises(PackageError, match="signed by 1 of the 2 keys"):
        verify(tmp_path / "p", trust)


def test_a_package_of_somebody_elses_keys(
    genuine: Path, folder: Path, keyring: Keyring, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("other")
    made.package(place / "p", folder, made.keyring(place / "keys"))
    message = refused(tmp_path, keyring, (place / "p").read_bytes())
    assert message == "metadata/1.root.json is not the root version 1 that is trusted here"


def test_a_root_that_its_predecessor_did_not_sign(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    """Whoever has a key of role targets alone cannot make himself a root."""
    members, old = made.contents(genuine), keyring.trust.root
    attacker = keys.FileSigner(keys.generate("ed25519"))
    root = roots.successor(old, created=made.CREATED, expires=old.expires)
    for role in ("root", "targets"):
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(attacker.public_key, role)
        root.roles[role].threshold = 1
    metadata: Metadata[Root] = Metadata(root)
    metadata.sign(attacker)
    forged = members | {"metadata/2.root.json": serialised(metadata)}
    assert "0 of the 2 keys that role root needs (root version 1)" in refused(
        tmp_path, keyring, made.plain(forged)
    )
    first = keyring.signers(old.roles["root"].keyids)[:1]
    metadata.sign(first[0], append=True)
    forged = members | {"metadata/2.root.json": serialised(metadata)}
    assert "1 of the 2 keys that role root needs (root version 1)" in refused(
        tmp_path, keyring, made.plain(forged)
    )
    skipped = deepcopy(metadata)
    skipped.signed.version = 3
    forged = members | {"metadata/2.root.json": serialised(skipped)}
    refused(tmp_path, keyring, made.plain(forged))


def spaced(content: bytes) -> bytes:
    return json.dumps(json.loads(content), indent=1).encode()


def with_field(content: bytes) -> bytes:
    body = json.loads(content)
    return json.dumps(body | {"note": "unsigned"}, separators=(",", ":"), sort_keys=True).encode()


def with_signature_field(content: bytes) -> bytes:
    body = json.loads(content)
    body["signatures"][0]["note"] = "unsigned"
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


def reordered(content: bytes) -> bytes:
    body = json.loads(content)
    body["signatures"].reverse()
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


def doubled(content: bytes) -> bytes:
    return content[:-1] + b',"signed":{}}'


def without_signatures(content: bytes) -> bytes:
    body = json.loads(content) | {"signatures": []}
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


@pytest.mark.parametrize("member", METADATA)
@pytest.mark.parametrize(
    "change", [spaced, with_field, with_signature_field, reordered, doubled, without_signatures]
)
def test_metadata_that_says_the_same_otherwise(
    change: Callable[[bytes], bytes], member: str, genuine: Path, keyring: Keyring, tmp_path: Path
) -> None:
    members = made.contents(genuine)
    assert member in refused(tmp_path, keyring, made.plain(members | {member: change(members[member])}))


def test_what_the_signers_themselves_got_wrong(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    members = made.contents(genuine)
    signers = keyring.signers(keyring.trust.root.roles["targets"].keyids)

    def said(changed: dict[str, bytes], **more: object) -> str:
        return refused(tmp_path, keyring, made.sealed(changed, keyring.trust, signers, **more))  # type: ignore[arg-type]

    assert "manifest.json is of doorbell 7" in said(members, counter=8)
    assert "metadata/targets.json of oven 7" in said(members, product="oven")
    manifest = json.loads(members["manifest.json"])
    newer = json.dumps(manifest | {"format": 2}).encode()
    assert "has format 2" in said(members | {"manifest.json": newer})
    missing = json.dumps(manifest | {"wheels": ["wheels/none.whl"]}).encode()
    assert "names wheels/none.whl, which is not in the package" in said(members | {"manifest.json": missing})
    for broken in (b"[]", b"{", b"{}", json.dumps(manifest | {"more": 1}).encode()):
        said(members | {"manifest.json": broken})
    assert "has no variant" in said(
        members | {"manifest.json": json.dumps(manifest | {"variants": []}).encode()}
    )
    without = {name: content for name, content in members.items() if name != "manifest.json"}
    assert "there is no manifest.json" in said(without)
