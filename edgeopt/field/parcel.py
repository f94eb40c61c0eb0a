"""A package as it is sent: its signed metadata, and any of its files from any byte on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.digest import CHUNK_BYTES, file_digest
from edgeopt.core.errors import ConfigError, PackageError
from edgeopt.field import archive, manifest, ustar
from edgeopt.field.manifest import Manifest, check_product


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file of the package lies in it: `offset` and `length` in bytes."""

    path: str
    sha256: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """A package that was read strictly, and is not unpacked.

    Attributes:
        file: The `.edgepkg`.
        sha256: Of the whole file: which package a rollout is of.
        metadata: The texts below `metadata/`, by name, byte for byte.
        manifest_text: That of `manifest.json`.
        product: What it is a release of.
        counter: Of the release; a higher one is newer.
        variants: Names of its variants.
        files: Of its payload, as its metadata lists them.
    """

    file: Path
    sha256: str
    metadata: Mapping[str, str]
    manifest_text: str
    product: str
    counter: int
    variants: tuple[str, ...]
    files: tuple[Place, ...]

    @classmethod
    def open(cls, file: Path) -> Parcel:
        """Read a package's metadata. Whom to trust is not asked here (`verify`), and by each device.

        Raises:
            ConfigError: There is no such file.
            PackageError: It is not a package, or is damaged.
        """
        found = archive.read(file)
        try:
            texts = {
                name.removeprefix(ustar.METADATA): found.bytes_of(name).decode()
                for name in found.members
                if name.startswith(ustar.METADATA)
            }
            listed = json.loads(texts[ustar.TARGETS_NAME.removeprefix(ustar.METADATA)])["signed"]
            content = found.bytes_of(manifest.NAME)
            facts = Manifest.from_bytes(content)
            check_product(facts.product)  # it becomes part of file names here
            files = tuple(
                Place(path, entry["hashes"]["sha256"], found.members[path].offset, found.members[path].length)
                for path, entry in listed["targets"].items()
            )
            counter, variants = int(listed["version"]), tuple(one.name for one in facts.variants)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise PackageError(
                f"{file} is not a package: {type(error).__name__}: {error}",
                hint="edgeopt verify says exactly what is wrong",
            ) from error
        digest = file_digest(file)
        return cls(file, digest, texts, content.decode(), facts.product, counter, variants, files)

    def place(self, sha256: str) -> Place | None:
        """Where a content lies; None: it is not in the package."""
        return next((one for one in self.files if one.sha256 == sha256), None)

    @property
    def name(self) -> str:
        """Product and counter, as people call a release."""
        return f"{self.product} {self.counter}"

    def opening(self) -> dict[str, Any]:
        """What a device is shown before anything is sent: it says then what it lacks, or refuses."""
        return {"metadata": dict(self.metadata), "manifest": self.manifest_text}

    def chunks(self, sha256: str, start: int) -> Iterator[bytes]:
        """The bytes of a file from `start` on.

        Raises:
            PackageError: The package has no such file, or became shorter.
        """
        place = self.place(sha256)
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
