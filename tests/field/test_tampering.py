"""Whatever is changed in a package, by whomever: it is refused, it is said why, and nothing is written."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from edgeopt.core.errors import PackageError
from edgeopt.field import archive, keys, roots, ustar
from edgeopt.field.keyring import Keyring
from edgeopt.field.metadata import serialised
from edgeopt.field.trust import Trust
from edgeopt.field.verify import Expected, verify
from tests.field import made

MODEL = "variants/rpi4/model.onnx"
MEMBERS = (
    "metadata/1.root.json", "metadata/targets.json", "manifest.json", MODEL, "golden/inputs.npz",
    "evidence/rpi4/best.json",
)  # fmt: skip
FIELDS = {"name": 2, "mode": 104, "owner": 110, "length": 130, "time": 140, "checksum": 150, "kind": 156,
          "magic": 258, "user": 270, "device": 330, "prefix": 400, "rest": 505}  # fmt: skip


def refused(path: Path, keyring: Keyring, content: bytes, **more: object) -> str:
    """What is said of a package with this content."""
    trust = Trust.open(keyring.folder)
    bad = path / "bad.edgepkg"
    bad.write_bytes(content)
    with pytest.raises(PackageError) as said:
        verify(bad, trust, **more)  # type: ignore[arg-type]
    assert said.value.exit_code == 6
    assert [each.name for each in path.iterdir()] == ["bad.edgepkg"]
    return said.value.message


def flipped(content: bytes, position: int, mask: int = 0xFF) -> bytes:
    changed = bytearray(content)
    changed[position] ^= mask
    return bytes(changed)


def test_the_untouched_package_is_genuine(genuine: Path, keyring: Keyring) -> None:
    verified = verify(genuine, keyring.trust)
    assert (verified.product, verified.counter) == ("doorbell", 7)
    assert [check for check, _ in verified.checks] == [
        "form",
        "roots",
        "signatures",
        "age",
        "files",
        "manifest",
    ]


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("field", FIELDS)
def test_a_byte_of_a_header(member: str, field: str, genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    start = archive.read(genuine).members[member].offset - ustar.BLOCK
    refused(tmp_path, keyring, flipped(genuine.read_bytes(), start + FIELDS[field]))


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("place", ["first", "middle", "last", "padding"])
def test_a_byte_of_a_content(
    member: str, place: str, genuine: Path, keyring: Keyring, tmp_path: Path
) -> None:
    found = archive.read(genuine).members[member]
    offsets = {"first": 0, "middle": found.length // 2, "last": found.length - 1, "padding": found.length}
    if place == "padding" and not ustar.padding(found.length):
        pytest.skip("it fills its blocks")
    message = refused(tmp_path, keyring, flipped(genuine.read_bytes(), found.offset + offsets[place], 0x01))
    assert member in message


def test_any_byte_and_any_range(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    content, chance = genuine.read_bytes(), random.Random(0)
    for _ in range(150):
        start = chance.randrange(len(content))
        end = min(len(content), start + chance.choice([1, 2, 64, 5000]))
        other = bytes(byte ^ chance.randrange(1, 256) for byte in content[start:end])
        refused(tmp_path, keyring, content[:start] + other + content[end:])


@pytest.mark.parametrize("member", MEMBERS[:2])
def test_every_letter_of_metadata(member: str, genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    """Its case too: an upper-case signature would still be valid for most readers."""
    found, content = archive.read(genuine).members[member], genuine.read_bytes()
    for position in range(found.offset, found.offset + found.length, 13):
        refused(tmp_path, keyring, flipped(content, position, 0x20))
    signature = content.index(b'"sig":"', found.offset) + 7
    letter = next(i for i in range(signature, signature + 128) if content[i : i + 1].isalpha())
    assert "not lower-case" in refused(tmp_path, keyring, flipped(content, letter, 0x20))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


FORMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "cut off, or no package"),
    "zeros": (lambda _: bytes(4096), "holds nothing|after its end"),
    "half": (cut, "cut off"),
    "one block less": (lambda c: c[: -ustar.BLOCK], "cut off at its end"),
    "one byte less": (lambda c: c[:-1], "cut off at its end"),
    "one byte more": (lambda c: c + b"\0", "after its end"),
    "another package behind": (lambda c: c + c, "after its end"),
    "padded as tar does": (lambda c: c + bytes(-len(c) % 10240 or 10240), "after its end"),
    "compressed": (gzip.compress, "damaged|cut off|characters"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_file(form: str, genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    change, why = FORMS[form]
    message = refused(tmp_path, keyring, change(genuine.read_bytes()))
    assert any(part in message for part in why.split("|")), message


def with_kind(kind: bytes) -> bytes:
    """A member that is no regular file, with a right checksum."""
    info = tarfile.TarInfo("variants/rpi4/zz")
    info.type, info.linkname = kind, "/etc/passwd"
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a symbolic link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.DIRTYPE, "a folder"),
        (tarfile.CHRTYPE, "a character device"), (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a named pipe"), (tarfile.XHDTYPE, "a pax header"),
        (tarfile.GNUTYPE_LONGNAME, "a long name"), (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    ],
)  # fmt: skip
def test_a_member_that_is_no_file(
    kind: bytes, said: str, genuine: Path, keyring: Keyring, tmp_path: Path
) -> None:
    members = made.contents(genuine)
    pairs = [(ustar.header(name, len(content)), content) for name, content in members.items()]
    message = refused(tmp_path, keyring, made.raw([*pairs, (with_kind(kind), b"")]))
    assert said in message


@pytest.mark.parametrize("name", ["../evil", "variants/../../evil", "/etc/cron.d/evil", "variants/rpi4/../x"])
def test_a_path_that_leads_out(name: str, genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    members = made.contents(genuine)
    pairs = [(ustar.header(n, len(content)), content) for n, content in members.items()]
    message = refused(tmp_path, keyring, made.raw([*pairs, (ustar.header(name, 4), b"evil")]))
    assert "leads out" in message or "absolute" in message


def test_a_header_that_promises_gigabytes(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    pairs = [(ustar.header(name, len(c)), c) for name, c in made.contents(genuine).items()]
    message = refused(tmp_path, keyring, made.raw([*pairs, (ustar.header("zz", ustar.MAX_BYTES), b"")]))
    assert "cut off in zz" in message


def test_metadata_that_would_fill_the_memory(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    large = made.contents(genuine) | {"metadata/targets.json": b" " * (ustar.MAX_METADATA_BYTES + 1)}
    assert "larger than metadata ever is" in refused(tmp_path, keyring, made.plain(large))


def test_metadata_that_would_fill_the_stack(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    deep = made.contents(genuine) | {"metadata/targets.json": b"[" * 100_000 + b"]" * 100_000}
    assert "not TUF metadata" in refused(tmp_path, keyring, made.plain(deep))


def test_too_many_members(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    many = made.contents(genuine) | {f"zz/{n:04}": b"" for n in range(ustar.MAX_MEMBERS)}
    assert "more than 1000 members" in refused(tmp_path, keyring, made.plain(many))


def test_members_twice_missing_added_or_in_another_order(
    genuine: Path, keyring: Keyring, tmp_path: Path
) -> None:
    members = made.contents(genuine)
    names = list(members)
    assert "is there twice" in refused(tmp_path, keyring, made.plain(members, [*names, names[-1]]))
    assert "another order" in refused(
        tmp_path, keyring, made.plain(members, [*names[:-2], names[-1], names[-2]])
    )
    assert "not signed for" in refused(tmp_path, keyring, made.plain(members | {"zz": b""}))
    without = {name: content for name, content in members.items() if name != MODEL}
    assert f"{MODEL} is signed for, and is not in" in refused(tmp_path, keyring, made.plain(without))
    for name in ("metadata/1.root.json", "metadata/targets.json"):
        fewer = {n: content for n, content in members.items() if n != name}
        refused(tmp_path, keyring, made.plain(fewer))


def test_files_that_changed_places(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    members = made.contents(genuine)
    one, other = "golden/inputs.npz", "golden/rpi4/outputs.npz"
    swapped = members | {one: members[other], other: members[one]}
    assert one in refused(tmp_path, keyring, made.plain(swapped))
    same_length = members | {MODEL: bytes(reversed(members[MODEL]))}
    assert f"{MODEL} was changed: SHA-256" in refused(tmp_path, keyring, made.plain(same_length))


def test_the_metadata_of_an_older_package(
    genuine: Path, folder: Path, keyring: Keyring, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Old targets vouch for old files only; an old package as a whole is a downgrade."""
    place = tmp_path_factory.mktemp("older")
    made.package(place / "older", made.study(place / "study", seed=5), keyring, counter=3)
    older, members = made.contents(place / "older"), made.contents(genuine)
    mixed = members | {"metadata/targets.json": older["metadata/targets.json"]}
    refused(tmp_path, keyring, made.plain(mixed))
    whole = (place / "older").read_bytes()
    message = refused(tmp_path, keyring, whole, expected=Expected(above=7))
    assert message == "its counter is 3, not above 7: a downgrade"


def test_a_package_for_somebody_else(genuine: Path, keyring: Keyring, tmp_path: Path) -> None:
    content = genuine.read_bytes()
    message = refused(tmp_path, keyring, content, expected=Expected(product="oven"))
    assert message == "it is of product doorbell, not of oven"
    message = refused(tmp_path, keyring, content, expected=Expected(device="rpi5"))
    assert message == "it is for rpi4, not for rpi5"


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
    from edgeopt.field import sign

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


@pytest.mark.parametrize("member", MEMBERS[:2])
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


def test_a_zip_is_no_package(keyring: Keyring, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("manifest.json", bytes(1_000_000))
    refused(tmp_path, keyring, stream.getvalue())
