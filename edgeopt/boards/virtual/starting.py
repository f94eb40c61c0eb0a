"""The start of one board: restored from a saved state if there is one, else booted, and saved on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from edgeopt.boards.virtual import lifeline, qemu
from edgeopt.boards.virtual.image import Image
from edgeopt.boards.virtual.qemu import Machine
from edgeopt.boards.virtual.qmp import Qmp, connect_unix
from edgeopt.boards.virtual.running import Running, start_time, write_ssh_config
from edgeopt.boards.virtual.saved import Saved, State
from edgeopt.core.errors import BoardError
from edgeopt.core.progress import Observer

BOOT_TIMEOUT_S = 180.0
"""A guest boots in seconds; on a machine that does much else it may take long."""
POLL_S = 0.01
LOG = "emulator.log"


class Damaged(Exception):
    """Something of the image is not as it was made; `discard` removes it."""

    def __init__(self, what: str, discard: Callable[[], None]) -> None:
        super().__init__(what)
        self.discard = discard


class Start:
    """One emulator from its first moment until it is let go or ended."""

    def __init__(self, image: Image, machine: Machine, folder: Path, alive: int, observer: Observer) -> None:
        """`alive` is the descriptor of the folder's lock: the emulator inherits it."""
        self._image, self._machine, self._folder, self._observer = image, machine, folder, observer
        self._saved = Saved.of(image, machine)
        self._held = [alive]
        self._program: lifeline.Bound | None = None
        self._damage: Future[Damaged | None] | None = None
        self._port = 0
        self.ended = False

    def run(self, counter: Path, caches: Sequence[tuple[int, int]], port: int | None) -> int:
        """Start it and wait until its SSH server answers; returns the port.

        Raises:
            Damaged: Its image or saved state is.
            BoardError: It does not start.
        """
        (self._folder / qemu.COUNTS).mkdir()
        self._held.append(self._image.use())
        state, self._port = self._saved.open(), port or 0
        try:
            with ThreadPoolExecutor(1) as pool:  # reading it all takes about as long as restoring does
                self._damage = pool.submit(self._find_damage, state)
                try:
                    return self._run(counter, caches, state)
                except BoardError as error:
                    if damage := self._damage.result():  # then that is why
                        raise damage from None
                    raise self._reason() or error from None
        finally:
            if state:
                state.close()

    def board(self, device: str, made_with: str, port: int, *, kept: bool) -> Running:
        """The board, its record written."""
        pid = self._program.pid if self._program else 0
        board = Running(
            name=f"virtual:{device}", device=device, pid=pid, started_ticks=start_time(pid) or 0, port=port,
            ram_bytes=self._machine.ram_bytes, kept=kept, made_with=made_with,
            folder=self._folder,
        )  # fmt: skip
        board.require_alive()
        board.write()
        return board

    def let_go(self) -> None:
        """It outlives us."""
        if self._program:
            self._program.stay()
        self._close()

    def end(self) -> None:
        """It is over, however far it got."""
        if self._program:
            self._program.end()
        self._close()
        self.ended = True

    def _run(self, counter: Path, caches: Sequence[tuple[int, int]], state: State | None) -> int:
        self._launch(self._machine.command(self._image.folder, self._port, counter, caches), state)
        with self._control() as qmp:
            port = qmp.port()
            write_ssh_config(self._folder, self._image.folder, port)
            saving = None
            if state:
                self._wait_for("its saved state", lambda: qmp.status() != "inmigrate")
                qmp.cont()  # it was saved while it was stopped
            else:
                self._wait_for("its kernel and first process", lambda: "READY" in self._console())
                saving = self._save(qmp)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            connect_unix(console, self._folder / qemu.CONSOLE)
            # It is told the time, and that it may write to its disk. Hanging up loses what it has not read.
            console.sendall(f"go {time.time():.3f}\n".encode())
            self._wait_for("its SSH server", lambda: "UP" in self._console().split())
        if saving:
            with contextlib.suppress(OSError):  # no room for it: the next board boots, too
                self._saved.adopt(saving)
        if self._damage and (damage := self._damage.result()):
            raise damage
        return port

    def _control(self) -> Qmp:
        """A conversation with it, once it is ready for one."""
        begun: list[Qmp] = []

        def reached() -> bool:
            if qmp := Qmp.if_listening(self._folder / qemu.CONTROL):
                begun.append(qmp)
            return bool(begun)

        self._wait_for("its control socket", reached)
        return begun[0]

    def _launch(self, command: list[str], state: State | None) -> None:
        descriptors = list(self._held)
        if state:
            command += ["-incoming", f"fd:{state.descriptor}"]
            descriptors.append(state.descriptor)
        with (self._folder / LOG).open("wb") as log:
            self._program = lifeline.Bound(
                command, output=log, folder=self._folder, descriptors=descriptors,
                # What the guest writes to its disk goes to a nameless file there.
                environment={"TMPDIR": str(self._folder)},
            )  # fmt: skip

    def _save(self, qmp: Qmp) -> Path | None:
        """Save the board as it is now; None if that cannot be done."""
        if shutil.disk_usage(self._image.folder).free < self._machine.ram_bytes:
            return None
        written = self._saved.beside()
        qmp.stop()
        try:
            if "UP" in self._console().split():  # it has waited in vain, and its disk is in use now
                return None
            qmp.save(written)
        except (BoardError, OSError) as error:
            written.unlink(missing_ok=True)
            self._observer.announce(f"the board cannot be saved, so the next one boots, too: {error}")
            return None
        finally:
            qmp.cont()
        return written

    def _wait_for(self, what: str, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + BOOT_TIMEOUT_S
        while not reached():
            if self._program and (status := self._program.status) is not None:
                raise self._failed(status)
            if self._damage and self._damage.done() and (damage := self._damage.result()):
                raise damage
            if time.monotonic() > end:
                raise BoardError(
                    f"the virtual board does not start: {what} is not there in {BOOT_TIMEOUT_S:g} s"
                )
            time.sleep(POLL_S)

    def _reason(self) -> BoardError | None:
        """Why the emulator has ended, if it has: who talked to it has seen no more than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._failed(self._program.wait(1.0)) if self._program else None
        return None

    def _failed(self, status: int) -> BoardError:
        said = (self._folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if any("host forwarding" in line for line in said):
            return BoardError(
                f"port {self._port} for the virtual board is taken",
                hint="choose another one, or none: --port",
            )
        why = (
            said[0].removeprefix(f"{qemu.PROGRAM}: ")
            if said
            else f"killed by signal {-status}"
            if status < 0
            else ""
        )
        return BoardError(f"the virtual board's emulator ended while it started: {why or f'status {status}'}")

    def _find_damage(self, state: State | None) -> Damaged | None:
        if name := self._image.damage():
            return Damaged(f"the virtual board's image is damaged ({name})", self._image.discard)
        if state and state.is_damaged:
            return Damaged("the virtual board's saved state is damaged", state.discard)
        return None

    def _console(self) -> str:
        try:
            return (self._folder / qemu.CONSOLE_LOG).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held = []
