"""`.edgepkg` files: the same members give the same bytes when written, and no other bytes pass when read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgeopt.core.digest import CHUNK_BYTES
from edgeopt.core.errors import ConfigError, EdgeoptError, PackageError
from edgeopt.core.files import written_atomically
from edgeopt.field import ustar

Content = bytes | Path
"""Of a member to be written: its bytes, or the file that has them."""


@dataclass(frozen=True, slots=True)
class Member:
    """Where the content of a member stands in the file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A package whose form is right; of what it says nothing was checked yet.

    Attributes:
        members: By name, in the order of the file.
    """

    path: Path
    members: Mapping[str, Member]

    def stream(self, name: str) -> Iterator[bytes]:
        """The content of a member, in pieces.

        Raises:
            PackageError: There is no such member, or the file became shorter meanwhile.
        """
        member = self._member(name)
        with self.path.open("rb") as stream:
            stream.seek(member.offset)
            left = member.length
            while left:
                piece = stream.read(min(left, CHUNK_BYTES))
                if not piece:
                    raise PackageError(f"{self.path} became shorter while it was read")
                left -= len(piece)
                yield piece

    def bytes_of(self, name: str) -> bytes:
        """The content of a small member, as `stream`."""
        return b"".join(self.stream(name))

    def sha256(self, name: str) -> str:
        """Hexadecimal digest of a member's content."""
        digest = hashlib.sha256()
        for piece in self.stream(name):
            digest.update(piece)
        return digest.hexdigest()

    def _member(self, name: str) -> Member:
        try:
            return self.members[name]
        except KeyError:
            raise PackageError(f"{self.path} holds no {name}") from None


def read(path: Path) -> Archive:
    """Read the form of a package: headers, names, order, padding, end. Nothing is unpacked.

    Raises:
        ConfigError: There is no such file.
        PackageError: Its bytes are not what `write` writes for its members.
    """
    if not path.is_file():
        raise ConfigError(f"no such package: {path}")
    try:
        with path.open("rb") as stream:
            return Archive(path, dict(_members(stream)))
    except PackageError as error:
        raise PackageError(
            f"{path}: {error.message}", hint="get the package again from where it was made"
        ) from None


def write(path: Path, members: Mapping[str, Content]) -> str:
    """Write a package: the same members give the same bytes, whatever their order here.

    Returns:
        SHA-256 of the whole file.

    Raises:
        PackageError: A name, or the number of members, is none of a package.
        EdgeoptError: It cannot be written, or a file changed meanwhile.
    """
    names = ustar.ordered(members)
    ustar.check_names(names)
    digest = hashlib.sha256()
    with written_atomically(path) as stream:

        def put(piece: bytes) -> int:
            digest.update(piece)
            return stream.write(piece)

        for name in names:
            content = members[name]
            length = len(content) if isinstance(content, bytes) else content.stat().st_size
            if length > ustar.MAX_BYTES:
                raise EdgeoptError(f"{name} has {length} bytes: a package holds files of up to 8 GiB")
            put(ustar.header(name, length))
            if (written := sum(map(put, _pieces(content)))) != length:
                raise EdgeoptError(f"{name} changed from {length} to {written} bytes while it was packaged")
            put(bytes(ustar.padding(length)))
        put(ustar.END)
    return digest.hexdigest()


def _pieces(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as source:
        while piece := source.read(CHUNK_BYTES):
            yield piece


def _members(stream: IO[bytes]) -> Iterator[tuple[str, Member]]:
    size = os.fstat(stream.fileno()).st_size
    if size > ustar.MAX_BYTES:
        raise PackageError("it is larger than 8 GiB")
    names: list[str] = []
    while True:
        block = stream.read(ustar.BLOCK)
        if len(block) < ustar.BLOCK:
            raise PackageError("it is cut off, or no package")
        if not any(block):
            break
        name, length = ustar.parse_header(block)
        offset, pad = stream.tell(), ustar.padding(length)
        if offset + length + pad > size:
            raise PackageError(f"it is cut off in {name}")
        stream.seek(length, os.SEEK_CUR)
        if any(stream.read(pad)):
            raise PackageError(f"there is something between {name} and the next member")
        names.append(name)
        if len(names) > ustar.MAX_MEMBERS:
            raise PackageError(f"it holds more than {ustar.MAX_MEMBERS} members")
        yield name, Member(offset, length)
    end = block + stream.read(ustar.BLOCK + 1)
    if end != ustar.END:
        is_short = len(end) < len(ustar.END) and not any(end)
        raise PackageError("it is cut off at its end" if is_short else "there is something after its end")
    ustar.check_names(names)
