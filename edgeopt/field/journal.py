"""What a rollout has done so far, line by line on the disk: one that is killed goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from edgeopt.boards import places
from edgeopt.core.closing import Closing
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import ConfigError
from edgeopt.core.files import cannot_write
from edgeopt.field.outcome import Outcome
from edgeopt.field.parcel import Parcel

FORMAT = 1


def file_of(parcel: Parcel, names: Sequence[str]) -> Path:
    """Where the rollout of a package to these devices is written down, in whatever order they are named."""
    key = value_digest(FORMAT, parcel.sha256, sorted(names))[:12]
    return places.home() / "rollouts" / f"{parcel.product}-{parcel.counter}-{key}.jsonl"


class Journal(Closing):
    """The record of one rollout, held by one process at a time.

    Each line is on the disk before the next device is begun; a line that a power cut has torn is cut off.

    Attributes:
        outcomes: The last one of each device, in the order in which they came.
        is_resumed: Whether anything was known before.

    Raises:
        ConfigError: Another process is at this rollout.
        EdgeoptError: It cannot be read or written.
    """

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        """`facts`: what the first line says, for whoever reads the file."""
        self.file = file
        self.outcomes: dict[str, Outcome] = {}
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stream: IO[bytes] = file.open("a+b")
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise ConfigError(
                f"another edgeopt is at this rollout: {file}", hint="wait for its end, or end it"
            ) from None
        except OSError as error:
            raise cannot_write(file, error) from error
        self._read()
        self.is_resumed = bool(self.outcomes)
        if not self._stream.tell():
            self._append({"format": FORMAT, **facts})

    def note(self, outcome: Outcome) -> None:
        """Write down how a device ended.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        self._append(outcome.document())
        self.outcomes[outcome.name] = outcome

    def forget(self, names: Sequence[str]) -> None:
        """Begin these devices anew, whatever is known of them.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        for name in names:
            if self.outcomes.pop(name, None):
                self._append({"again": name})

    def close(self) -> None:
        self._stream.close()

    def _append(self, record: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise cannot_write(self.file, error) from error

    def _read(self) -> None:
        self._stream.seek(0)
        whole = 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                break
            try:
                self._take(json.loads(line))
            except ValueError:
                break
            whole += len(line)
        self._stream.truncate(whole)
        self._stream.seek(0, os.SEEK_END)

    def _take(self, record: Any) -> None:
        if isinstance(record, dict) and "again" in record:
            self.outcomes.pop(record["again"], None)
        elif isinstance(record, dict) and "name" in record:
            outcome = Outcome.of_record(record)
            self.outcomes[outcome.name] = outcome
