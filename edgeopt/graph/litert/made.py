"""LiteRT files that were made once, by the key of all that they depend on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.digest import file_digest
from edgeopt.core.files import cannot_write, write_atomically
from edgeopt.graph.litert.interface import Interface


@dataclass(frozen=True, slots=True)
class Made:
    """A LiteRT file, and how it relates to the ONNX model.

    Attributes:
        path: Of the file, named by its digest.
        sha256: Of the file.
        size_bytes: Of the file.
        interface: Its inputs and outputs against the model's.
    """

    path: Path
    sha256: str
    size_bytes: int
    interface: Interface


class Shelf:
    """A folder of such files; safe with several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def find(self, key: str) -> Made | None:
        """What was put there under this key; None if nothing, or if the file is damaged."""
        try:
            entry = json.loads(self._entry(key).read_bytes())
            path = self.folder / f"{entry['sha256']}.tflite"
            if file_digest(path) != entry["sha256"]:
                return None
            interface = Interface.of_document(entry["interface"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Made(path, entry["sha256"], path.stat().st_size, interface)

    def put(self, key: str, file: Path, interface: Interface) -> Made:
        """Keep a copy of `file` under `key`.

        Raises:
            EdgeoptError: No disk; nothing is left behind.
        """
        sha256 = file_digest(file)
        path = self.folder / f"{sha256}.tflite"
        write_atomically(path, file.read_bytes())
        entry = {"sha256": sha256, "interface": interface.document()}
        write_atomically(self._entry(key), json.dumps(entry).encode())
        return Made(path, sha256, path.stat().st_size, interface)

    def log(self, key: str) -> Path:
        """Where the log of a failure under `key` belongs."""
        return self.folder / f"litert-{key[:32]}.log"

    def _entry(self, key: str) -> Path:
        return self.folder / f"litert-{key[:32]}.json"
