"""What is trusted: a chain of TUF roots, each signed by the one before it.

The first root of a chain is trusted because it was carried to the device or the desk by hand; every later one
because keys of its predecessor signed it. Packages bring the whole chain along, so a device that was off for
years finds its way from the root that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from edgeopt.core.errors import ConfigError, PackageError, SignatureError
from edgeopt.field.metadata import FIELD, check_signatures, parse

FIRST = "root.pub.json"
"""The first trusted root; version N of the chain is `N.root.pub.json` beside it."""
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_LATER = re.compile(r"([1-9][0-9]{0,3})\.root\.pub\.json")


@dataclass(frozen=True, slots=True)
class Trust:
    """A verified chain of roots.

    Attributes:
        chain: The bytes of each root by its version, ascending without a gap.
        roots: The same, read.
    """

    chain: Mapping[int, bytes]
    roots: Mapping[int, Root]

    @classmethod
    def open(cls, place: Path) -> Trust:
        """Read the trust of a folder that `edgeopt keys new` made, or of one root file.

        Raises:
            ConfigError: There is none.
            PackageError, SignatureError: It is damaged, or a root is not signed by the one before it.
        """
        first = place / FIRST if place.is_dir() else place
        if not first.is_file():
            what = f"no {FIRST} in {place}" if place.is_dir() else f"no such file or folder: {place}"
            raise ConfigError(
                f"nothing to trust: {what}", hint="edgeopt keys new DIR makes keys and their root"
            )
        contents = [(str(first), first.read_bytes())]
        if place.is_dir():
            later = {int(m[1]): path for path in place.iterdir() if (m := _LATER.fullmatch(path.name))}
            contents += [(str(later[version]), later[version].read_bytes()) for version in sorted(later)]
        return cls.of(contents)

    @classmethod
    def of(cls, contents: list[tuple[str, bytes]]) -> Trust:
        """Verify a chain from its first root on, which is trusted as it stands.

        Args:
            contents: Name, for errors, and bytes of each root.

        Raises:
            PackageError, SignatureError: As `open`.
        """
        chain: dict[int, bytes] = {}
        roots: dict[int, Root] = {}
        previous: Root | None = None
        for name, content in contents:
            root = next_root(name, content, previous).signed
            if previous is not None and root.version != previous.version + 1:
                raise SignatureError(
                    f"{name} is root version {root.version}, {previous.version + 1} is missing"
                )
            chain[root.version], roots[root.version], previous = content, root, root
        return cls(chain, roots)

    @property
    def root(self) -> Root:
        """The newest."""
        return self.roots[max(self.roots)]

    def known_time(self) -> datetime:
        """A time that has certainly passed: the newest root was made then."""
        return max(created(root) for root in self.roots.values())

    def extended(self, offered: Mapping[int, bytes]) -> Trust:
        """Follow the chain that a package brings along, as far as it leads.

        Args:
            offered: Bytes by version, from 1 without a gap.

        Raises:
            PackageError, SignatureError: It is damaged, is not signed as a chain, or is another one.
        """
        contents = [(f"metadata/{version}.root.json", offered[version]) for version in sorted(offered)]
        brought = Trust.of(contents)
        if brought.chain != offered:
            raise SignatureError("a root of the package has another version than its name says")
        common = sorted(self.chain.keys() & brought.chain.keys())
        for version in common:
            if self.chain[version] != brought.chain[version]:
                raise SignatureError(
                    f"metadata/{version}.root.json is not the root version {version} that is trusted here",
                    hint="the package is of somebody else's keys, or --trust names the wrong folder",
                )
        if not common:
            raise SignatureError(
                f"its roots end at version {max(offered)}, and those trusted here begin at {min(self.chain)}",
                hint="package it again with the present roots",
            )
        return Trust({**brought.chain, **self.chain}, {**brought.roots, **self.roots})


def next_root(name: str, content: bytes, previous: Root | None) -> Metadata[Root]:
    """Read a root that is signed by its own keys and by those of its predecessor.

    Raises:
        PackageError, SignatureError: It is not.
    """
    metadata = parse(name, content, Root)
    signers = [(metadata.signed, "root")]
    if previous is not None:
        signers.insert(0, (previous, "root"))
    check_signatures(name, metadata, signers)
    created(metadata.signed)
    return metadata


def created(root: Root) -> datetime:
    """When a root was made.

    Raises:
        PackageError: It does not say.
    """
    try:
        text = root.unrecognized_fields[FIELD]["created"]
        return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError) as error:
        raise PackageError(f"root version {root.version} does not say when it was made") from error
