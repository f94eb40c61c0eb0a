"""Optuna's journal on disk, made safe against kills, torn writes and full disks.

The file is Optuna's own format: `JournalStorage(JournalFileBackend(path))` reads it. Three things differ from
Optuna's file backend. Our lock on the folder replaces its lock file, which a killed process leaves behind. A
batch of records (all decisions of a trial) is one write and one fsync, so it is either there or cut off. And
a write that fails is undone, so that a full disk leaves a journal that can be continued.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from edgeopt.core.errors import EdgeoptError, StudyError
from edgeopt.core.files import cannot_write

Record = dict[str, Any]

CREATE_TRIAL = 4
"""Optuna's operation code of a new trial."""


class Journal(BaseJournalBackend):
    """Append-only records, mirrored in memory."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._path, self._read_only = path, read_only
        self._records, whole_bytes = read_records(path)
        self._buffer: list[Record] | None = None
        self._failure: EdgeoptError | None = None
        if not read_only:
            _cut(path, whole_bytes)

    def read_logs(self, log_number_from: int) -> list[Record]:
        """Records from a number on; Optuna calls it after every operation."""
        return (
            self._records[log_number_from:]
            + (self._buffer or [])[max(0, log_number_from - len(self._records)) :]
        )

    def append_logs(self, logs: list[Record]) -> None:
        """Write records, or hold them back until the batch ends.

        Raises:
            EdgeoptError: The disk is full or not writable; nothing of `logs` is left in the file.
        """
        # The round trip makes records in memory equal to those read back (tuples, enums).
        plain = [json.loads(json.dumps(record)) for record in logs]
        if self._buffer is None:
            self._write(plain)
        else:
            self._buffer += plain

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Records appended inside reach the disk together when it ends, or not at all if it raises."""
        self._buffer = []
        try:
            yield
            pending, self._buffer = self._buffer, None
            self._write(pending)
        finally:
            self._buffer = None

    def _write(self, records: list[Record]) -> None:
        if self._read_only:
            raise StudyError(f"{self._path} was opened for reading only")
        if self._failure:
            # Optuna's picture in memory has what the disk refused: only opening anew makes them agree.
            raise self._failure
        if not records:
            return
        data = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()
        before = self._path.stat().st_size if self._path.exists() else 0
        try:
            _append(self._path, data)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, before)
            self._failure = cannot_write(self._path, error)
            raise self._failure from error
        self._records += records


def read_records(path: Path) -> tuple[list[Record], int]:
    """All records of a journal, and how many of its bytes they take: a torn tail is left out.

    Raises:
        StudyError: Unreadable records in the middle: cutting there would lose trials.
    """
    if not path.exists():
        return [], 0
    data = path.read_bytes()
    records, whole, broken = list[Record](), 0, False
    for line in data.splitlines(keepends=True):
        record = _parse(line)
        if record is None:
            broken = True
        elif broken:
            raise StudyError(
                f"{path} is damaged after record {len(records)}",
                hint="restore it from a copy, or begin again with --fresh (the old one is kept)",
            )
        else:
            records.append(record)
            whole += len(line)
    return records, whole


def drop_half_asked(path: Path, sites: frozenset[str]) -> None:
    """Cut a last trial that was killed before all its decisions were written: it is asked for again.

    A trial's decisions are one batch, and the batch is the end of the file, so nothing else is lost.

    Raises:
        StudyError: The journal is damaged.
    """
    records, _ = read_records(path)
    created = [i for i, record in enumerate(records) if record["op_code"] == CREATE_TRIAL]
    if not created:
        return
    tail = records[created[-1] :]
    if any("state" in record and record["op_code"] != CREATE_TRIAL for record in tail):
        return
    decided = set(tail[0].get("params", {})) | {r["param_name"] for r in tail if "param_name" in r}
    if not sites <= decided:
        lines = path.read_bytes().splitlines(keepends=True)
        _cut(path, sum(len(line) for line in lines[: created[-1]]))


def remove_stale_locks(path: Path) -> None:
    """Delete what Optuna's own file lock leaves behind when its process is killed."""
    for stale in (*path.parent.glob(path.name + ".lock"), *path.parent.glob(path.name + ".lock*.rename")):
        stale.unlink(missing_ok=True)


def _append(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        while data:  # a full disk can take a part and then refuse
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut(path: Path, size: int) -> None:
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def _parse(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("op_code"), int) else None
