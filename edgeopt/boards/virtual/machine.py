"""Virtual boards go up and down. What is up is found again by its folder, whose lock its emulator holds."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edgeopt.boards import places, profiles
from edgeopt.boards.virtual import image as images
from edgeopt.boards.virtual import locks, tools
from edgeopt.boards.virtual.qemu import Machine
from edgeopt.boards.virtual.running import ALIVE, Running
from edgeopt.boards.virtual.starting import Damaged, Start
from edgeopt.core.errors import BoardError, ConfigError
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.progress import Observer

LEAST_RAM_BYTES = 256 << 20
USUAL_RAM_BYTES = 1 << 30
"""A board with more has as much of it as models need: what a model does not touch changes no figure."""
ATTEMPTS = 3
DYING_S = 10.0

_ours: dict[Path, Start] = {}


def up(
    profile: DeviceProfile,
    *,
    ram_bytes: int | None = None,
    keep: bool = False,
    port: int | None = None,
    observer: Observer | None = None,
) -> Running:
    """Start a virtual board, pristine, and wait until it can be entered.

    Args:
        profile: What it shall be.
        ram_bytes: Its memory; by default the smallest variant's, at most 1 GiB.
        keep: True: it stays until `down` (one per device; if it is up already, that one is returned). False:
            it is ours alone, and ends with this process, however that ends.
        port: Of 127.0.0.1, for its SSH server; by default a free one.
        observer: Is told what takes time: making the image once, and what was found damaged.

    Raises:
        BoardError: A tool is missing, the port is taken, packages cannot be downloaded, it does not start.
        ConfigError: The profile is of no board that can be emulated, or memory or port make no sense.
        EdgeoptError: No room, or no permission.
    """
    machine = machine_of(profile, ram_bytes)
    if port is not None and not 0 < port < 1 << 16:
        raise ConfigError(f"port {port} is not between 1 and 65535")
    tools.require()
    observer = observer or Observer()
    if not keep:
        return _started(profile, machine, None, port, observer)

    def waiting() -> None:
        observer.announce(f"another edgeopt is starting virtual:{profile.name}: waiting for it")

    with locks.locked(boards_folder() / f"{profile.name}.lock", waiting):
        for board in running():
            if board.device == profile.name:
                return _unless_different(board, machine, port)
        return _started(profile, machine, profile.name, port, observer)


def running() -> list[Running]:
    """The boards that stay up until they are taken down, by name. What dead ones left is removed."""
    found = []
    with _sweeping():
        for folder in sorted(boards_folder().iterdir()):
            if (board := Running.read(folder)) and board.kept and board.alive:
                found.append(board)
    return found


@contextlib.contextmanager
def named(device: str | None, observer: Observer | None = None) -> Iterator[Running]:
    """The virtual board of a device: the one that is up, else one that ends with the block.

    With None, the only one that is up, of whatever device.

    Raises:
        ConfigError: None is up, or several are, and no device is named.
        BoardError: It does not start.
    """
    there = [board for board in running() if device in (None, board.device)]
    if len(there) == 1:
        yield there[0]
        return
    if device is None:
        found = f"{len(there)} are up" if there else "none is up"
        example = there[0].name if there else "virtual:rpi4"
        raise ConfigError(f"which virtual board? {found}", hint=f"name its device, too: {example}")
    board = up(profiles.load(device), observer=observer)
    try:
        yield board
    finally:
        down(board)


def down(board: Running) -> None:
    """End a board at once; nothing of it is left."""
    start = _ours.pop(board.folder, None)
    board.kill()
    if start:
        start.end()
    else:
        os.close(locks.take(board.folder / ALIVE))  # it is released when its emulator is gone
    shutil.rmtree(board.folder, ignore_errors=True)


def _started(
    profile: DeviceProfile, machine: Machine, kept_as: str | None, port: int | None, observer: Observer
) -> Running:
    from edgeopt.boards.virtual import version
    from edgeopt.boards.virtual.cycles import cache_arguments
    from edgeopt.boards.virtual.plugin import plugin

    caches, counter = cache_arguments(profile), plugin()
    for _ in range(ATTEMPTS):
        image = images.ready(observer)
        folder, alive = _new_folder(kept_as or f"{profile.name}-{os.getpid()}-{secrets.token_hex(3)}")
        start = Start(image, machine, folder, alive, observer)
        try:
            reached = start.run(counter, caches, port)
            board = start.board(profile.name, version.machine(profile), reached, kept=kept_as is not None)
            if kept_as is None:
                _ours[folder] = start
            else:
                start.let_go()
            return board
        except Damaged as damage:
            start.end()
            observer.announce(f"{damage}: made again")
            damage.discard()
        except BaseException:
            start.end()
            raise
        finally:
            if folder not in _ours and start.ended:
                shutil.rmtree(folder, ignore_errors=True)
    raise BoardError(
        f"the image of virtual boards is found damaged {ATTEMPTS} times in a row",
        hint=f"check the disk that {images.folder()} is on",
    )


def _unless_different(board: Running, machine: Machine, port: int | None) -> Running:
    if board.ram_bytes != machine.ram_bytes or port not in (None, board.port):
        raise ConfigError(
            f"{board.name} is up already, with {board.ram_bytes >> 20} MiB at port {board.port}",
            hint=f"edgeopt boards down {board.name}",
        )
    return board


def machine_of(profile: DeviceProfile, ram_bytes: int | None = None) -> Machine:
    """The hardware that a profile describes, as far as it can be emulated.

    Raises:
        ConfigError: It is of no kind of board, or no such board has that much memory.
    """
    core, variants = profile.get("cpu", "core"), profile.get("memory", "ram_bytes")
    if not core or not variants:
        raise ConfigError(
            f"{profile.name} is no kind of board: it cannot be virtual", hint="edgeopt devices list"
        )
    variants = variants if isinstance(variants, list) else [variants]
    ram_bytes = ram_bytes or min(min(variants), USUAL_RAM_BYTES)
    if not LEAST_RAM_BYTES <= ram_bytes <= max(variants):
        raise ConfigError(
            f"a virtual {profile.name} has {LEAST_RAM_BYTES >> 20} to {max(variants) >> 20} MiB of memory, "
            f"not {ram_bytes >> 20}"
        )
    return Machine(str(core).lower(), ram_bytes, profile.title)


def boards_folder() -> Path:
    """Where boards that are up have their folders."""
    return places.home() / "virtual"


def _new_folder(name: str) -> tuple[Path, int]:
    """An empty folder and the descriptor of its lock, which says that it is in use."""
    with _sweeping():
        folder = boards_folder() / name
        if folder.exists():
            _require_ended(folder)
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        return folder, locks.take(folder / ALIVE)


def _require_ended(folder: Path) -> None:
    """Wait a moment for an emulator that has just died; whoever else holds the folder keeps it."""
    end = time.monotonic() + DYING_S
    while not locks.is_free(folder / ALIVE):
        if time.monotonic() > end:
            raise BoardError(
                f"{folder} belongs to a board that is up and that this edgeopt does not know",
                hint="another version or another machine has started it: end its qemu-system-aarch64, or "
                "choose another EDGEOPT_HOME",
            )
        time.sleep(0.05)


@contextlib.contextmanager
def _sweeping() -> Iterator[None]:
    """Alone with the folders of boards, of which those that nobody holds any more are gone."""
    with locks.locked(boards_folder() / "folders.lock"):
        for folder in boards_folder().iterdir():
            if folder.is_dir() and locks.is_free(folder / ALIVE):
                shutil.rmtree(folder, ignore_errors=True)
        yield


@atexit.register
def _end_ours() -> None:
    for folder in list(_ours):
        _ours.pop(folder).end()
        shutil.rmtree(folder, ignore_errors=True)
