"""What was built already: a folder of content-addressed files, and which candidates they belong to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.errors import EdgeoptError
from edgeopt.core.interface import Interface, from_json, to_json
from edgeopt.graph.artifacts import Artifacts

INDEX = "index.jsonl"


@dataclass(frozen=True, slots=True)
class Built:
    """A file that was built.

    Attributes:
        sha256: Of its bytes.
        size_bytes: Its size.
        opset: Of the default domain.
        ir_version: As the file says.
        interface: How its inputs differ from the original's.
    """

    sha256: str
    size_bytes: int
    opset: int
    ir_version: int
    interface: Interface = ()


class BuildIndex:
    """Maps build keys to files, in an append-only file of JSON lines.

    A line that a crash or a full disk cut short is passed over: its candidate is built again.

    Args:
        folder: Absolute; made if it does not exist.

    Raises:
        EdgeoptError: It cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / INDEX
        self._known: dict[str, Built] = {}
        self._is_torn = False
        self._artifacts = Artifacts(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = self._file.read_bytes() if self._file.exists() else b""
        except OSError as error:
            raise EdgeoptError(f"cannot use {folder}: {error.strerror or error}") from error
        self._is_torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            self._read(line)

    def path(self, built: Built) -> Path:
        """Where the file is, or is to be."""
        return self._artifacts.path(built.sha256)

    def pin(self, built: Built) -> None:
        """Keep this file whole: others are taken apart when they take too much room."""
        self._artifacts.pin(built.sha256)

    def find(self, key: str) -> Built | None:
        """What was built for `key`, if its file is still there or can be put together.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        built = self._known.get(key)
        found = built is not None and self._artifacts.restore(built.sha256, built.size_bytes)
        return built if found else None

    def add(self, key: str, content: bytes, opset: int, ir_version: int, interface: Interface = ()) -> Built:
        """Write a file, and remember that `key` gives it.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        built = Built(self._artifacts.write(content), len(content), opset, ir_version, interface)
        fields = {
            "key": key, "sha256": built.sha256, "size_bytes": built.size_bytes, "opset": opset,
            "ir_version": ir_version, "interface": to_json(interface),
        }  # fmt: skip
        line = json.dumps(fields, sort_keys=True).encode() + b"\n"
        try:
            with self._file.open("ab") as stream:
                stream.write((b"\n" if self._is_torn else b"") + line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            self._is_torn = True
            raise EdgeoptError(f"cannot write {self._file}: {error.strerror or error}") from error
        self._is_torn = False
        self._known[key] = built
        return built

    def _read(self, line: bytes) -> None:
        try:
            fields = json.loads(line)
            key = str(fields["key"])
            size_bytes, opset, ir_version = (int(fields[n]) for n in ("size_bytes", "opset", "ir_version"))
            interface = from_json(fields.get("interface", ()))
            self._known[key] = Built(str(fields["sha256"]), size_bytes, opset, ir_version, interface)
        except (ValueError, KeyError, TypeError):
            return
