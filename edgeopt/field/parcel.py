"""A package as it is sent: its signed metadata, and any of its files from any byte on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.digest import CHUNK_BYTES, file_digest
from edgeopt.core.errors import PackageError
from edgeopt.field import archive

METADATA = "metadata/"
TARGETS = "metadata/targets.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file of the package lies in it: `offset` and `length` in bytes."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """A package that was read strictly, and is not unpacked.

    Attributes:
        file: The `.edgepkg`.
        sha256: Of the whole file: which package a rollout is of.
        metadata: The texts below `metadata/`, by name, byte for byte.
        manifest: The text of `manifest.json`.
        product: What it is a release of.
        counter: Of the release; a higher one is newer.
        variants: Names of its variants.
        places: Of the payload's files, by SHA-256 as the metadata lists it.
    """

    file: Path
    sha256: str
    metadata: Mapping[str, str]
    manifest: str
    product: str
    counter: int
    variants: tuple[str, ...]
    places: Mapping[str, Place]

    @classmethod
    def open(cls, file: Path) -> Parcel:
        """Read a package's metadata. Whom to trust is not asked here (`verify`), and by each device.

        Raises:
            PackageError: It is not a package, or is damaged.
        """
        found = archive.read(file)
        try:
            texts = {
                name.removeprefix(METADATA): found.bytes_of(name).decode()
                for name in found.members
                if name.startswith(METADATA)
            }
            listed = json.loads(texts["targets.json"])["signed"]
            manifest = found.bytes_of(MANIFEST).decode()
            facts = json.loads(manifest)
            places = {}
            for path, entry in listed["targets"].items():
                member = found.members[path]
                places[entry["hashes"]["sha256"]] = Place(path, member.offset, member.length)
            variants = tuple(one["name"] for one in facts["variants"])
            return cls(
                file, file_digest(file), texts, manifest, str(facts["product"]), int(listed["version"]),
                variants, places,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise PackageError(
                f"{file} is not a package: {type(error).__name__}: {error}",
                hint="edgeopt verify says exactly what is wrong",
            ) from error

    @property
    def name(self) -> str:
        """Product and counter, as people call a release."""
        return f"{self.product} {self.counter}"

    @property
    def payload_bytes(self) -> int:
        """Size of all files that the metadata lists."""
        return sum(place.length for place in self.places.values())

    def opening(self) -> dict[str, Any]:
        """What a device is shown before anything is sent: it says then what it lacks, or refuses."""
        return {"metadata": dict(self.metadata), "manifest": self.manifest}

    def chunks(self, sha256: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from `start` on.

        Raises:
            PackageError: The package has no such file, or became shorter.
        """
        place = self.places.get(sha256)
        if place is None or not 0 <= start <= place.length:
            raise PackageError(f"{self.file} has no file {sha256[:12]} of more than {start} bytes")
        left = place.length - start
        with self.file.open("rb") as stream:
            stream.seek(place.offset + start)
            while left:
                data = stream.read(min(left, CHUNK_BYTES))
                if not data:
                    raise PackageError(f"{self.file} became shorter while it was read")
                left -= len(data)
                yield data
