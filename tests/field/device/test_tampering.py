"""Packages that somebody has changed: every one is refused, and nothing of it is written anywhere."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.field.device.agents import Agent, module
from tests.field.device.packages import (
    EARLIER,
    Key,
    Vendor,
    archive,
    canonical,
    root,
    signed,
    targets,
    written,
)  # fmt: skip

NEXT = "2098-01-01T00:00:00Z"


def good(
    counter: int = 2, keys: list[Key] | None = None, **changes: object
) -> tuple[Vendor, dict[str, bytes]]:
    vendor = Vendor(
        keys=keys or [Key(1)], **{key: changes.pop(key) for key in ("product",) if key in changes}
    )
    files = vendor.files(counter, **changes)
    return vendor, {**vendor.metadata(counter, files), **dict(sorted(files.items()))}


def with_targets(**document: object) -> bytes:
    """A package with another targets metadata, signed by the right key."""
    vendor, found = good()
    payload = {name: content for name, content in found.items() if not name.startswith("metadata/")}
    found["metadata/targets.json"] = signed({**targets(2, payload), **document}, vendor.keys)
    return archive(list(found.items()))


def with_metadata(content: Callable[[dict], bytes]) -> bytes:
    """A package whose signed targets metadata was changed afterwards."""
    _, found = good()
    found["metadata/targets.json"] = content(json.loads(found["metadata/targets.json"]))
    return archive(list(found.items()))


def with_member(name: str, content: bytes = b"x", **header: object) -> bytes:
    """A package with one more member, at its place in the order."""
    _, found = good()
    rest = {**{name: content for name, content in found.items() if "metadata/" not in name}, name: content}
    head = [(key, value) for key, value in found.items() if "metadata/" in key]
    if not header:
        return archive([*head, *sorted(rest.items())])
    whole = archive([*head, *sorted(rest.items())])
    return whole.replace(_header(name, content), _header(name, content, **header))


def _header(name: str, content: bytes, **header: object) -> bytes:
    return archive([(name, content)], **header)[:512]


def swapped(first: str, second: str) -> bytes:
    _, found = good(variants=[{"name": "a"}, {"name": "b", "add": 3, "promised": 3}])
    found[first], found[second] = found[second], found[first]
    return archive(list(found.items()))


def without(name: str) -> bytes:
    _, found = good()
    return archive([(key, content) for key, content in found.items() if key != name])


def whole() -> bytes:
    return archive(list(good()[1].items()))


def strangers() -> bytes:
    return archive(list(good(keys=[Key(7)])[1].items()))


def wrong_role() -> bytes:
    """Signed by a key of the timestamp."""
    vendor = Vendor()
    roles = Vendor.roles([Key(1)], timestamp=([Key(5)], 1))
    vendor.roots = [signed(root(1, roles), [Key(1)])]
    files = vendor.files(2)
    return archive([*vendor.metadata(2, files, [Key(5)]).items(), *sorted(files.items())])


def second_root(keys: list[Key], threshold: int = 1, **changes: object) -> bytes:
    """A package that brings a second root, signed by `keys`, whose targets Key(6) signs."""
    vendor = Vendor()
    vendor.roots.append(signed(root(2, Vendor.roles([Key(6)]), **changes), keys))
    files = vendor.files(2)
    return archive([*vendor.metadata(2, files, [Key(6)]).items(), *sorted(files.items())])


def resigned(change: Callable[[dict], object]) -> bytes:
    def content(document: dict) -> bytes:
        change(document)
        return written(document)

    return with_metadata(content)


def flipped(share: float) -> bytes:
    content = bytearray(whole())
    content[int(share * len(content))] ^= 0x10
    return bytes(content)


def bomb() -> bytes:
    """A header that speaks of 8 GiB in a file of a few KiB."""
    content = whole()
    where = content.index(b"golden/inputs.npz")
    header = bytearray(content[where : where + 512])
    header[124:136] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:where] + bytes(header) + content[where + 512 :]


def listed(path: str) -> bytes:
    """A signed package that names a file which leads elsewhere."""
    _, found = good()
    payload = {name: content for name, content in found.items() if not name.startswith("metadata/")}
    return with_targets(
        targets={**targets(2, payload)["targets"], path: {"length": 1, "hashes": {"sha256": "0" * 64}}}
    )


CASES: dict[str, Callable[[], bytes]] = {
    **{f"flip at {share:.0%}": lambda share=share: flipped(share) for share in [n / 20 for n in range(20)]},
    "cut in the middle": lambda: whole()[:2000],
    "cut at the end": lambda: whole()[:-512],
    "something after the end": lambda: whole() + bytes(512),
    "padded to the block of tar": lambda: whole() + bytes(-len(whole()) % 10240),
    "empty": lambda: b"",
    "not an archive": lambda: b"PK\3\4" + bytes(2000),
    "compressed": lambda: __import__("gzip").compress(whole()),
    "only metadata": lambda: archive(list(Vendor().metadata(2, {}).items())),
    "zip-slip": lambda: with_member("../../evil"),
    "absolute path": lambda: with_member("/tmp/evil"),
    "dot path": lambda: with_member("variants/./evil"),
    "two slashes": lambda: with_member("variants//evil"),
    "backslash": lambda: with_member("variants\\evil"),
    "signed zip-slip": lambda: listed("../../evil"),
    "signed absolute path": lambda: listed("/etc/evil"),
    "signed metadata": lambda: listed("metadata/timestamp.json"),
    "not listed": lambda: with_member("variants/plain/model.onnx.data"),
    "symlink": lambda: with_member("variants/plain/z", b"", type=b"2", linkname="/etc/passwd"),
    "hard link": lambda: with_member("variants/plain/z", b"", type=b"1", linkname="manifest.json"),
    "device": lambda: with_member("variants/plain/z", b"", type=b"3"),
    "folder": lambda: with_member("variants/plain/z", b"", type=b"5"),
    "pax header": lambda: with_member("variants/plain/z", b"", type=b"x"),
    "setuid": lambda: with_member("variants/plain/z", b"", mode=0o4755),
    "an owner": lambda: with_member("variants/plain/z", b"", uid=1000),
    "file in a file": lambda: with_member("manifest.json/evil"),
    "file twice": lambda: archive([*good()[1].items(), ("variants/plain/session.json", b"x")]),
    "another order": lambda: archive(list(reversed(good()[1].items()))),
    "bomb": bomb,
    "thousand members": lambda: archive([*good()[1].items(), *((f"w/{n:04}", b"") for n in range(1001))]),
    "model swapped": lambda: swapped("variants/a/model.onnx", "variants/b/model.onnx"),
    "golden outputs swapped": lambda: swapped("golden/a/outputs.npz", "golden/b/outputs.npz"),
    "model missing": lambda: without("variants/plain/model.onnx"),
    "evidence missing": lambda: without("evidence/bom.cdx.json"),
    "manifest missing": lambda: without("manifest.json"),
    "targets missing": lambda: without("metadata/targets.json"),
    "root missing": lambda: without("metadata/1.root.json"),
    "somebody else's keys": strangers,
    "wrong role": wrong_role,
    "root by a stranger": lambda: second_root([Key(6)]),
    "root not by itself": lambda: second_root([Key(1)]),
    "expired": lambda: with_targets(expires=EARLIER),
    "metadata of tomorrow's TUF": lambda: with_targets(spec_version="2.0.0"),
    "snapshot as targets": lambda: with_targets(_type="snapshot"),
    "delegation": lambda: with_targets(delegations={"keys": {}, "roles": []}),
    "another format": lambda: with_targets(edgeopt={"format": 2, "product": "oven"}),
    "another product": lambda: archive(list(good(product="door")[1].items())),
    "counter differs": lambda: with_targets(version=3),
    "version is true": lambda: with_targets(version=True),
    "version is zero": lambda: with_targets(version=0),
    "no date": lambda: with_targets(expires="tomorrow"),
    "impossible date": lambda: with_targets(expires="2099-13-41T00:00:00Z"),
    "counter raised": lambda: resigned(lambda document: document["signed"].update(version=9)),
    "expiry moved": lambda: resigned(lambda document: document["signed"].update(expires=NEXT)),
    "no signature": lambda: resigned(lambda document: document["signatures"].clear()),
    "a stranger signs, too": lambda: resigned(
        lambda document: document["signatures"].append(
            {"keyid": "ff" * 32, "sig": Key(7).sign(canonical(document["signed"]))}
        )
    ),
    "signature twice": lambda: resigned(lambda found: found.update(signatures=found["signatures"] * 2)),
    "unsigned field": lambda: resigned(lambda document: document.update(more=1)),
    "unsigned field of a signature": lambda: resigned(lambda document: document["signatures"][0].update(x=1)),
    "other spelling": lambda: with_metadata(lambda document: json.dumps(document).encode()),
    "keys in disorder": lambda: with_metadata(
        lambda document: json.dumps({"signed": document["signed"], "signatures": document["signatures"]},
                                    separators=(",", ":")).encode()
    ),
    "a key twice": lambda: with_metadata(
        lambda document: written(document)[:-1] + b',"signed":' + written(document["signed"]) + b"}"
    ),
    "not JSON": lambda: with_metadata(lambda document: b"\xff\xfe"),
    "deeply nested": lambda: with_metadata(lambda document: b"[" * 100_000),
    "a float": lambda: with_metadata(lambda document: written({**document, "signed": {"version": 1.5}})),
    "a list": lambda: with_metadata(lambda document: b"[]"),
}  # fmt: skip


def tree(folder: Path) -> dict[str, str]:
    """Every file below it but the agent's own copy."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A device that serves release 1; no case changes it."""
    folder = tmp_path_factory.mktemp("tampering")
    agent = Agent(folder / "device").trusts(Vendor())
    agent.good("install", Vendor().package(folder / "1.edgepkg", 1))
    return agent


@pytest.mark.parametrize("name", CASES)
def test_what_was_tampered_with_is_refused(device: Agent, name: str, tmp_path: Path) -> None:
    package = tmp_path / "bad.edgepkg"
    package.write_bytes(CASES[name]())
    before, beside = tree(device.root), tree(device.root.parent)
    agent = module()
    agent_device = agent.Device(device.root)
    with pytest.raises(agent.Failed) as refused:
        agent_device.unpack(package)
    assert refused.value.code == 6, refused.value
    assert str(refused.value)
    assert tree(device.root) == before
    assert tree(device.root.parent) == beside


def test_what_these_cases_change_is_accepted_as_it_was(device: Agent, tmp_path: Path) -> None:
    package = tmp_path / "good.edgepkg"
    package.write_bytes(whole())
    assert device.do("install", package, PYTHONPATH=device.environment["PYTHONPATH"]).code == 0


def test_the_command_ends_with_6_and_names_the_package(agent: Agent, tmp_path: Path) -> None:
    package = tmp_path / "bad.edgepkg"
    package.write_bytes(flipped(0.5))
    refused = agent.do("install", package)
    assert refused.code == 6
    assert refused["error"]["message"].startswith("bad.edgepkg: ")


def any_byte(count: int) -> list[int]:
    return random.Random(0).sample(range(len(whole())), count)


@pytest.mark.long
def test_any_byte_that_is_flipped_is_noticed(device: Agent, tmp_path: Path) -> None:
    package, content, accepted = tmp_path / "bad.edgepkg", whole(), []
    for at in any_byte(3000):
        package.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        try:
            module().Device(device.root).unpack(package)
        except module().Failed as error:
            assert error.code == 6  # noqa: PT017 - thousands of them
        else:
            accepted.append(at)
    assert accepted == []


def test_a_revoked_key_signs_nothing_any_more_even_where_the_revocation_is_left_out(
    agent: Agent, tmp_path: Path
) -> None:
    vendor = Vendor()
    vendor.rotate(Key(2))
    agent.good("install", vendor.package(tmp_path / "1.edgepkg", 1))
    stolen = Vendor()  # the chain ends before the rotation
    refused = agent.do("install", stolen.package(tmp_path / "2.edgepkg", 2))
    assert (refused.code, refused["error"]["kind"]) == (6, "signature")
    assert "not one of role targets in root version 2" in refused["error"]["message"]


def test_an_expired_root_is_kept_for_what_it_revokes_and_installs_nothing(
    agent: Agent, tmp_path: Path
) -> None:
    package = tmp_path / "expired.edgepkg"
    package.write_bytes(second_root([Key(1), Key(6)], expires=EARLIER))
    before = agent.files()
    refused = agent.do("install", package)
    assert (refused.code, refused["error"]["kind"]) == (6, "expired")
    assert {name for name in agent.files() - before if not name.startswith("bin/")} == {"trust/2.root.json"}
    assert agent.do("install", Vendor().package(tmp_path / "2.edgepkg", 2))["error"]["kind"] == "signature"


def test_a_threshold_is_met_by_different_keys_only(tmp_path: Path) -> None:
    keys = [Key(1), Key(2, "ecdsa"), Key(3)]
    vendor = Vendor(keys=keys)
    vendor.roots = [signed(root(1, Vendor.roles([Key(1)], targets=(keys, 2))), [Key(1)])]
    agent = Agent(tmp_path / "device").trusts(vendor)
    files = vendor.files(1)

    def package(signers: list[Key]) -> Path:
        path = tmp_path / f"{len(signers)}.edgepkg"
        path.write_bytes(archive([*vendor.metadata(1, files, signers).items(), *sorted(files.items())]))
        return path

    refused = agent.do("install", package(keys[:1]))
    assert "signed by 1 of the 2 keys" in refused["error"]["message"]
    assert agent.do("install", package(keys[:2])).code == 0


def test_one_key_with_two_names_is_one_signer(tmp_path: Path) -> None:
    one, alias = Key(1), Key(1)
    alias.id = "aa" * 32
    vendor = Vendor(keys=[one])
    vendor.roots = [signed(root(1, Vendor.roles([one], targets=([one, alias], 2))), [one])]
    agent = Agent(tmp_path / "device").trusts(vendor)
    files = vendor.files(1)
    path = tmp_path / "1.edgepkg"
    path.write_bytes(archive([*vendor.metadata(1, files, [one, alias]).items(), *sorted(files.items())]))
    assert "signed by 1 of the 2 keys" in agent.do("install", path)["error"]["message"]
