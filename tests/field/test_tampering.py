"""Whatever is changed in a package, by whomever: it is refused, it is said why, and nothing is written."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.field import archive, ustar
from edgeopt.field.keyring import Keyring
from edgeopt.field.verify import Expected, verify
from tests.field import made
from tests.field.refusals import flipped, refused

MODEL = "variants/rpi4/model.onnx"
MEMBERS = (
    "metadata/1.root.json", "metadata/targets.json", "manifest.json", MODEL, "golden/inputs.npz",
    "evidence/rpi4/best.json",
)  # fmt: skip
FIELDS = {"name": 2, "mode": 104, "owner": 110, "length": 130, "time": 140, "checksum": 150, "kind": 156,
          "magic": 258, "user": 270, "device": 330, "prefix": 400, "rest": 505}  # fmt: skip


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


def test_a_zip_is_no_package(keyring: Keyring, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("manifest.json", bytes(1_000_000))
    refused(tmp_path, keyring, stream.getvalue())
