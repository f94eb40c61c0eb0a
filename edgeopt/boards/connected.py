"""A connection to a board's runner that is renewed when it breaks, and what is kept on the board."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeopt.boards import room
from edgeopt.boards.board import BoardFacts
from edgeopt.boards.complaints import explained
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.facts import BOOT_ID, facts, is_this_machine
from edgeopt.boards.identity import IMAGE
from edgeopt.boards.lease import Claim, Held
from edgeopt.boards.requests import RUNTIMES
from edgeopt.boards.suspects import Suspects, run_key
from edgeopt.boards.transports import Transport
from edgeopt.boards.uploads import Assembly, Uploads
from edgeopt.boards.validity import Speed, Thresholds
from edgeopt.core.artifact import Artifact
from edgeopt.core.closing import Closing
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import (
    BoardError,
    BusyError,
    CandidateFailed,
    CommandError,
    ConfigError,
    ConnectError,
    RuntimeMissing,
)
from edgeopt.core.progress import Observer
from edgeopt.runtimes import onnxruntime, wheels

HELLO_DEADLINE_S = 120.0
REQUEST_DEADLINE_S = 1200.0
CLEAN_AFTER_BYTES = 256e6
"""Uploads after which a board is asked to keep its cache within bounds, as it is when it is connected."""

LONG_UPLOAD_BYTES = 32_000_000
"""What takes some seconds over a slow network, or to an emulated board: whoever waits is told."""


class ConnectedBoard(Closing):
    """Who answers through a transport.

    It connects when it is made, and has the board to itself until it is closed. A connection that is lost
    raises `ConnectError`; the next request connects again, and refuses if another board, kernel or runtime
    answers then.

    Raises:
        BusyError: Somebody else has it.
        ConnectError: The board is unreachable, or its Python does not have the runtime.
    """

    counts: bool = False
    """Whether its runner is asked to count inferences instead of timing them."""
    leases: bool = True
    """Whether nobody else may measure on it meanwhile."""
    facts: BoardFacts
    is_this_machine: bool
    clock_error_s: float
    """How far its clock was ahead of the host's when it connected: no latency depends on it."""

    def __init__(
        self,
        name: str,
        open_transport: Callable[[], Transport],
        observer: Observer,
        thresholds: Thresholds,
        claim: Claim | None,
        model: str | None = None,
    ) -> None:
        self.name, self._open_transport, self._observer = name, open_transport, observer
        self._thresholds, self._model = thresholds, model
        self._speed: Speed | None = None
        self._closed = threading.Event()
        self._transport: Transport | None = None
        self._put_bytes, self._uploads = 0, Uploads()
        self._dialogue: Dialogue | None = None
        self._claim, self._suspects = claim or Claim(), Suspects()
        self._held: Held | None = None
        self._python, self._reason, self._bits = "python3", None, 64
        self._uname, self._version = "", ""
        hello = self._connect()
        self.facts, self.is_this_machine = self._facts(hello), is_this_machine(hello)
        self.clock_error_s = float(hello["time_s"]) - time.time()

    def clean(self, limit_bytes: int = 0) -> int:
        """Remove the files used longest ago until the rest fits; returns how many went."""
        with self._reachable() as dialogue:
            return int(dialogue.ask("clean", REQUEST_DEADLINE_S, limit_bytes=limit_bytes)["removed"])

    def close(self) -> None:
        self._closed.set()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._dialogue:
            self._dialogue.close()
        if self._transport:
            self._transport.close()
        self._dialogue = self._transport = None

    @property
    def _token(self) -> int | None:
        return self._held.token if self._held else None

    def _facts(self, hello: Mapping[str, Any]) -> BoardFacts:
        return facts(hello, self._model)

    def _connect(self) -> dict[str, Any]:
        try:
            self._transport = self._open_transport()
            hello = self._greeted(self._transport)
            self._speed = Speed.calibrated(hello["conditions"], self._thresholds, self._speed)
            self._python, self._reason = hello["executable"], hello["runtime"].get("error")
            self._bits, self._uname, self._version = hello["bits"], hello["machine"], hello["python"]
            if self._reason and not hello["other_runtimes"].get("ai-edge-litert"):
                raise self._lacks(onnxruntime.NAME)
            if self._dialogue:
                self._dialogue.ask("clean", HELLO_DEADLINE_S)
            boot = (hello["files"].get(BOOT_ID) or "").strip() or None
            self._suspects.connected(boot, bool(self._held and self._held.killed_former))
        except BaseException:
            self._disconnect()
            raise
        return hello

    def _greeted(self, transport: Transport) -> dict[str, Any]:
        """Start the runner and ask who the board is.

        Raises:
            BusyError: Somebody else has the board.
            ConnectError, CommandError: It does not start: what is in its way, and what to do about it.
        """
        try:
            self._dialogue = Dialogue(transport.start_runner(), self.name)
            self._held = self._claim.take(self._dialogue, self.name) if self.leases else None
            return dict(self._dialogue.ask("hello", HELLO_DEADLINE_S, counts=self.counts))
        except BusyError:
            raise
        except (ConnectError, CommandError) as error:
            raise explained(error, self.name) from error

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[Dialogue]:
        """A conversation, renewed if the last one broke; whatever breaks this one ends it."""
        if self._dialogue is None:
            now = self._facts(self._connect())
            if now.epoch != self.facts.epoch:
                self._disconnect()
                raise BoardError(
                    f"{self.name} is not the board that it was: {'; '.join(self.facts.changes(now))}",
                    hint="repeat the command: its references are measured again",
                )
        if self._dialogue is None:
            raise ConnectError(f"{self.name} is closed")
        try:
            if self._put_bytes > CLEAN_AFTER_BYTES:
                self._dialogue.ask("clean", REQUEST_DEADLINE_S)
                self._put_bytes = 0
            yield self._dialogue
        except CandidateFailed:
            raise
        except BaseException:  # also Ctrl-C: an answer may still be on its way, and belongs to nobody
            self._disconnect()
            raise

    def _store(self, artifacts: Sequence[tuple[Path, str]], feeds: Path) -> str:
        """Put what the board lacks; returns the name of the feeds there."""
        if self._transport is None or self._dialogue is None:
            raise ConnectError(f"{self.name} is closed")
        wanted = {sha256: path for path, sha256 in artifacts} | {(sha256 := file_digest(feeds)): feeds}
        present = self._dialogue.ask("stat", REQUEST_DEADLINE_S, objects=list(wanted))
        self._put_missing(wanted, wanted.keys() - set(present))
        return sha256

    def _put_missing(self, files: Mapping[str, Path], missing: Collection[str]) -> None:
        """Upload those of the files, by SHA-256, that the board lacks; it has the others."""
        if not missing:
            return
        for name in files.keys() - set(missing):
            self._uploads.note(name, files[name])
        self._put({name: files[name] for name in missing})

    def _put(self, files: Mapping[str, Path]) -> None:
        for path in files.values():
            if not path.is_file():
                raise ConfigError(f"{path} is missing")
        with self._uploads.assembly(files) as assembly:
            if not assembly or not self._assembled(assembly):
                self._put_whole(files)
        for name, path in files.items():
            self._put_bytes += path.stat().st_size
            self._uploads.note(name, path)

    def _assembled(self, assembly: Assembly) -> bool:
        """Upload what is new in files; whether what is old was still there."""
        if self._dialogue is None:
            raise ConnectError(f"{self.name} is closed")
        self._put_whole({assembly.sha256: assembly.new})
        answer = self._dialogue.ask("assemble", REQUEST_DEADLINE_S, files=assembly.parts, new=assembly.sha256)
        if answer["missing"]:
            self._uploads.forget()
        return not answer["missing"]

    def _put_whole(self, files: Mapping[str, Path]) -> None:
        if self._transport is None:
            raise ConnectError(f"{self.name} is closed")
        size_bytes = sum(path.stat().st_size for path in files.values())
        if size_bytes >= LONG_UPLOAD_BYTES and not self.is_this_machine:
            self._observer.announce(f"uploading {size_bytes / 1e6:.0f} MB to {self.name}")
        for name, path in files.items():
            self._transport.put(path, name)

    @contextlib.contextmanager
    def _suspected(self, artifact: Artifact) -> Iterator[Dialogue]:
        """A conversation in which one artifact runs, unless it is known to reboot the board or to kill the
        runner."""
        key = run_key(artifact)
        with self._suspects.running([key]), self._reachable() as dialogue:
            self._suspects.require(key)
            yield dialogue

    def _require(self, runtime: str) -> None:
        if runtime not in RUNTIMES:
            raise ConfigError(f"the on-board runner cannot run {runtime} models")
        if runtime not in self.facts.runtimes:
            raise self._lacks(runtime)

    def _require_room(self, artifact: Artifact) -> None:
        if refused := room.refusal(artifact, self.facts):
            raise refused

    def _lacks(self, runtime: str) -> RuntimeMissing:
        reason = self._reason if runtime == onnxruntime.NAME else "it is not installed"
        if self._bits == 32:
            return RuntimeMissing(
                f"{self.name}: its Python is a 32-bit program and lacks {runtime}", hint=IMAGE
            )
        if no_wheel := wheels.missing(runtime, self._uname, self._version):
            return RuntimeMissing(
                f"{self.name}: its Python cannot import {runtime}: {reason}",
                hint=f"{no_wheel}; ?python=/path names another Python",
            )
        return RuntimeMissing(
            f"{self.name}: its Python cannot import {runtime}: {reason}",
            hint=f"run on the board: {self._python} -m pip install '{RUNTIMES[runtime].INSTALL}'; "
            "or name another Python with ?python=/path",
        )
