"""Verifies a package: its form, its chain of roots, its signatures, its age, and every byte of every file.

Nothing is unpacked, nothing is written. Each check says what it found; the first that fails says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Root, Targets

from edgeopt.core.errors import PackageError, SignatureError
from edgeopt.field import archive, manifest, ustar
from edgeopt.field.archive import Archive
from edgeopt.field.manifest import Manifest
from edgeopt.field.metadata import FIELD, check_signatures, parse
from edgeopt.field.sign import FORMAT
from edgeopt.field.trust import TIME_FORMAT, Trust

Told = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Verified:
    """A package that is what it claims to be.

    Attributes:
        trust: The chain that was trusted before, and what the package added to it.
        checks: What was checked, and what was found.
    """

    archive: Archive
    manifest: Manifest
    targets: Targets
    trust: Trust
    checks: tuple[tuple[str, str], ...]

    @property
    def product(self) -> str:
        return self.manifest.product

    @property
    def counter(self) -> int:
        return self.targets.version

    @property
    def expires(self) -> datetime:
        return self.targets.expires


@dataclass(frozen=True, slots=True)
class Expected:
    """What a package must be besides genuine; None is not asked.

    Attributes:
        product: Of somebody's other product it is none of ours, however well signed.
        device: A variant for this device profile must be in it.
        above: What is installed: its counter must be higher.
    """

    product: str | None = None
    device: str | None = None
    above: int | None = None


def verify(
    path: Path,
    trust: Trust,
    *,
    now: datetime | None = None,
    expected: Expected | None = None,
    told: Told | None = None,
) -> Verified:
    """Verify a package.

    Args:
        now: The clock. Time is the later of it and of what trusted metadata prove to have passed.
        told: Called with the name of each check that passed, and what was found.

    Raises:
        ConfigError: There is no such file.
        PackageError: Its form or a file's content is not what it should be.
        SignatureError: A signature is missing or wrong, by a key that may not sign, or too old.
    """
    checks: list[tuple[str, str]] = []

    def passed(check: str, found: str) -> None:
        checks.append((check, found))
        if told is not None:
            told(check, found)

    package = archive.read(path)
    passed("form", f"{len(package.members)} members, every other byte as edgeopt writes it")
    chain = trust.extended(_roots(package))
    passed("roots", f"versions 1 to {max(_roots(package))}, each signed by the one before it")
    targets, who = _targets(package, chain)
    passed("signatures", who)
    time = max(now or datetime.now(UTC), chain.known_time())
    passed("age", _check_age(chain.root, targets, time))
    product = _check_field(targets)
    passed("files", _check_files(package, targets))
    said = Manifest.from_bytes(package.bytes_of(manifest.NAME))
    passed("manifest", _check_manifest(said, targets, product))
    if expected is not None:
        passed("expected", _check_expected(said, expected))
    return Verified(package, said, targets, chain, tuple(checks))


def trusted_root(path: Path, folder: Path) -> bytes:
    """The first trusted root of a folder, once a package was verified with that trust.

    Raises:
        ConfigError, PackageError, SignatureError: As `verify` and `Trust.open`.
    """
    trust = Trust.open(folder)
    verify(path, trust)
    return trust.chain[min(trust.chain)]


def _roots(package: Archive) -> dict[int, bytes]:
    found = ((ustar.ROOT_NAME.fullmatch(name), name) for name in package.members)
    return {int(match[1]): package.bytes_of(name) for match, name in found if match}


def _targets(package: Archive, chain: Trust) -> tuple[Targets, str]:
    name = ustar.TARGETS_NAME
    metadata = parse(name, package.bytes_of(name), Targets)
    former = [root for version, root in chain.roots.items() if version < chain.root.version]
    who = check_signatures(name, metadata, [(chain.root, "targets")], former)
    if metadata.signed.delegations is not None:
        raise PackageError(f"{name} delegates to other roles, which a package does not")
    return metadata.signed, who


def _check_age(root: Root, targets: Targets, now: datetime) -> str:
    for name, said in ((f"root version {root.version}", root), (ustar.TARGETS_NAME, targets)):
        if said.is_expired(now):
            raise SignatureError(
                f"{name} expired at {said.expires.strftime(TIME_FORMAT)}, it is {now.strftime(TIME_FORMAT)}",
                hint="what runs goes on running; for new installs, "
                + ("edgeopt keys rotate" if isinstance(said, Root) else "package it again"),
            )
    until = [said.expires.strftime(TIME_FORMAT) for said in (targets, root)]
    return f"package until {until[0]}, root until {until[1]}"


def _check_field(targets: Targets) -> str:
    field = targets.unrecognized_fields.get(FIELD)
    if not isinstance(field, dict) or field.keys() != {"format", "product"} or field["format"] != FORMAT:
        raise PackageError(f"{ustar.TARGETS_NAME} is not that of a package which this edgeopt reads")
    if not isinstance(field["product"], str):
        raise PackageError(f"{ustar.TARGETS_NAME} names no product")
    return field["product"]


def _check_files(package: Archive, targets: Targets) -> str:
    payload = [name for name in package.members if not name.startswith(ustar.METADATA)]
    if missing := sorted(targets.targets.keys() - set(payload)):
        raise PackageError(f"{missing[0]} is signed for, and is not in the package")
    if unlisted := sorted(set(payload) - targets.targets.keys()):
        raise PackageError(f"{unlisted[0]} is in the package, and is not signed for")
    for name in payload:
        listed = targets.targets[name]
        if listed.hashes.keys() != {"sha256"} or listed.unrecognized_fields:
            raise PackageError(f"{name} is not listed by its length and SHA-256 alone")
        length = package.members[name].length
        if length != listed.length:
            raise PackageError(f"{name} has {length} bytes, {listed.length} were signed")
        if (found := package.sha256(name)) != listed.hashes["sha256"]:
            signed = listed.hashes["sha256"]
            raise PackageError(f"{name} was changed: SHA-256 {found[:12]}…, {signed[:12]}… was signed")
    if manifest.NAME not in payload:
        raise PackageError(f"there is no {manifest.NAME}")
    return f"{len(payload)} files, each with the length and SHA-256 that were signed"


def _check_manifest(said: Manifest, targets: Targets, product: str) -> str:
    if (said.product, said.counter) != (product, targets.version):
        raise PackageError(
            f"{manifest.NAME} is of {said.product} {said.counter}, {ustar.TARGETS_NAME} of {product} "
            f"{targets.version}"
        )
    if missing := [path for path in said.paths() if path not in targets.targets]:
        raise PackageError(f"{manifest.NAME} names {missing[0]}, which is not in the package")
    if not said.variants:
        raise PackageError(f"{manifest.NAME} has no variant")
    names = ", ".join(variant.name for variant in said.variants)
    return f"{said.product} {said.counter}, for {names}"


def _check_expected(said: Manifest, expected: Expected) -> str:
    if expected.product is not None and said.product != expected.product:
        raise PackageError(f"it is of product {said.product}, not of {expected.product}")
    devices = sorted({variant.device for variant in said.variants})
    if expected.device is not None and expected.device not in devices:
        raise PackageError(f"it is for {', '.join(devices)}, not for {expected.device}")
    if expected.above is not None and said.counter <= expected.above:
        raise PackageError(f"its counter is {said.counter}, not above {expected.above}: a downgrade")
    return "product, device and counter are those asked for"
