"""The files of candidates, by content: weights that several share are kept once.

A candidate's file is whole while it is among those used last; of the others the weights stay in `weights/`,
and a recipe of parts, from which it is put together again when it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from edgeopt.core.files import cannot_write, write_atomically
from edgeopt.core.pieces import pieces

WHOLE_BYTES = 1 << 30
"""Of files that are kept whole, the most that they take together; the one that was built last stays."""

WEIGHTS, RECIPE = "weights", ".recipe"


class Artifacts:
    """A folder of files, each found by the SHA-256 of its bytes.

    Args:
        folder: Exists.
        whole_bytes: See `WHOLE_BYTES`.
    """

    def __init__(self, folder: Path, whole_bytes: int = WHOLE_BYTES) -> None:
        self._folder, self._whole_bytes = folder, whole_bytes
        self._weights, self._pinned = folder / WEIGHTS, set[Path]()

    def path(self, sha256: str) -> Path:
        """Where the file is, or is to be."""
        return self._folder / f"{sha256}.onnx"

    def pin(self, sha256: str) -> None:
        """Keep a file whole as long as this object lives."""
        self._pinned.add(self.path(sha256))

    def write(self, content: bytes) -> str:
        """Keep a file; its name.

        Raises:
            EdgeoptError: Disk full, permission; nothing is half-written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.path(sha256)
        if _digest(path) != sha256:
            write_atomically(path, content)
        self._make_room(path)
        return sha256

    def restore(self, sha256: str, size_bytes: int) -> bool:
        """Whether the file is there, whole, after it was put together again where need be.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        path = self.path(sha256)
        if self._is_whole(path, size_bytes):
            with contextlib.suppress(OSError):
                os.utime(path)
            return True
        if not self._put_together(path):
            return False
        self._make_room(path)
        return True

    def _is_whole(self, path: Path, size_bytes: int) -> bool:
        try:
            return path.stat().st_size == size_bytes
        except OSError:
            return False

    def _put_together(self, path: Path) -> bool:
        try:
            names = json.loads(path.with_suffix(RECIPE).read_bytes())
            content = b"".join((self._weights / name).read_bytes() for name in names)
        except (FileNotFoundError, ValueError, TypeError):
            return False
        if hashlib.sha256(content).hexdigest() != path.stem:
            self._drop_damaged(names)
            return False
        write_atomically(path, content)
        return True

    def _drop_damaged(self, names: Iterable[str]) -> None:
        """Remove the parts that are not what they are called: others that share them would fail as well."""
        for name in set(names):
            if _digest(self._weights / name) != name:
                (self._weights / name).unlink(missing_ok=True)

    def _make_room(self, latest: Path) -> None:
        """Take those apart that were used longest ago, until the others fit."""
        found = [(file.stat(), file) for file in self._folder.glob("*.onnx")]
        kept_bytes = latest.stat().st_size
        for state, file in sorted(found, key=lambda one: one[0].st_mtime, reverse=True):
            if file == latest:
                continue
            kept_bytes += state.st_size
            if kept_bytes > self._whole_bytes and file not in self._pinned:
                self._take_apart(file)

    def _take_apart(self, file: Path) -> None:
        recipe = file.with_suffix(RECIPE)
        try:
            self._weights.mkdir(exist_ok=True)
            content, parts, at = file.read_bytes(), [], 0
            for piece in pieces(file):
                parts += [content[at : piece.offset], content[piece.offset : piece.offset + piece.length]]
                at = piece.offset + piece.length
            parts.append(content[at:])
            write_atomically(recipe, json.dumps([self._part(part) for part in parts]).encode())
            file.unlink()
        except OSError as error:
            raise cannot_write(recipe, error) from error

    def _part(self, content: bytes) -> str:
        """Keep a part, unless it is there; its name."""
        name = hashlib.sha256(content).hexdigest()
        path = self._weights / name
        if not self._is_whole(path, len(content)):
            part = path.with_name(f".{name}.{os.getpid()}")
            part.write_bytes(content)  # not synced: what is put together is verified
            part.replace(path)
        return name


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
