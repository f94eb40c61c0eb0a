"""Which board is meant, and why that one. Opens nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.inventory import Inventory, NamedBoard
from edgeopt.core.errors import BoardError, ConfigError
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import STRENGTH, Provenance

VIRTUAL = "virtual"
PRICED = "every time is priced from what it executes, none is measured"
NOTHING_MEASURED = "every figure comes from its profile, none is measured"


@dataclass(frozen=True, slots=True)
class Choice:
    """A board that is to be opened.

    Attributes:
        name: `local`, `predicted`, `virtual:DEVICE`, the name of a configured board, or an address in full.
        provenance: Of its figures.
        why: Why this one, in words.
        named: Its entry in the inventory, if it has one.
    """

    name: str
    provenance: Provenance
    why: str
    named: NamedBoard | None = None


def device_of(board: str) -> str | None:
    """The device that `virtual:DEVICE` names; None for any other board."""
    kind, colon, device = board.partition(":")
    return device if kind == VIRTUAL and colon and device and not device.startswith("//") else None


def virtual_device(board: str) -> str | None:
    """As `device_of`, but only a device that can be emulated.

    Raises:
        ConfigError: There is no such device, or its profile does not say enough; the hint lists the others.
    """
    device = device_of(board)
    if device is not None and device not in (known := emulated_devices()):
        unknown = "cannot be emulated" if device in profiles.names() else "is no known device"
        raise ConfigError(
            f"--board {board}: {device} {unknown}",
            hint=", ".join(f"{VIRTUAL}:{name}" for name in known) + " can be emulated",
        )
    return device


def emulated_devices() -> list[str]:
    """The devices whose profiles say enough to emulate them."""
    from edgeopt.boards.virtual.cycles import CycleModel

    found = []
    for name in profiles.names():
        with contextlib.suppress(ConfigError):
            CycleModel.of(profiles.load(name))
            found.append(name)
    return found


def resolve(
    profile: DeviceProfile, board: str | None, inventory: Inventory, require: Provenance | None = None
) -> Choice:
    """The board that `--board` means for a device.

    Args:
        profile: Of `--device`.
        board: `local`, `predicted`, `virtual`, `virtual:DEVICE`, an address, or a name of the inventory.
            None: this machine for the device `local`, else the first configured board of that device, else
            a virtual one if this machine can emulate it, else `predicted`.
        require: Anything weaker is refused.

    Raises:
        ConfigError: No such board, or it is of another device.
        BoardError: Its figures would be weaker than `require`, or this machine lacks what emulates it.
    """
    choice = _choose(profile, inventory) if board is None else _named(profile, board, inventory)
    if require and STRENGTH[choice.provenance] < STRENGTH[require]:
        obstacle = _obstacle(profile) if board is None and require == "emulated" else None
        why = f"no {profile.name} can be emulated here: {obstacle.message}" if obstacle else choice.why
        raise BoardError(
            f"--require {require}, but this board's figures would be {choice.provenance}: {why}",
            hint=_stronger(profile, require),
        )
    if choice.provenance == "emulated" and board is not None:
        _require_emulator(profile)
    return choice


def _stronger(profile: DeviceProfile, require: Provenance) -> str:
    """What makes the figures of a device at least `require`."""
    name = profile.name
    hardware = "measure on one: "
    if name == "local":
        return f"{hardware}--board local"
    hardware += f"edgeopt boards add NAME ssh://user@host --device {name}"
    if require == "measured":
        return hardware
    from edgeopt.boards.virtual import tools

    if name not in emulated_devices():
        return hardware
    return tools.install_line() or f"--board {VIRTUAL}, or leave --board out"


def _choose(profile: DeviceProfile, inventory: Inventory) -> Choice:
    name = profile.name
    if name == "local":
        return Choice("local", "measured", "this machine")
    if configured := inventory.of_device(name):
        first = configured[0]
        rest = f", the first of {len(configured)}" if len(configured) > 1 else ""
        return Choice(first.name, "measured", f"the configured {name}{rest}", first)
    obstacle = _obstacle(profile)
    if obstacle is None:
        return Choice(
            f"{VIRTUAL}:{name}", "emulated", f"no {name} is configured, so one is emulated: {PRICED}"
        )
    return Choice(
        "predicted", "predicted",
        f"no {name} is configured, and none can be emulated here ({obstacle.message}"
        f"{f'; {obstacle.hint}' if obstacle.hint else ''}): {NOTHING_MEASURED}",
    )  # fmt: skip


def _named(profile: DeviceProfile, board: str, inventory: Inventory) -> Choice:
    if board == "predicted":
        return Choice(board, "predicted", "as asked")
    if board == VIRTUAL or device_of(board):
        meant = device_of(board) or profile.name
        if meant != profile.name:
            raise ConfigError(
                f"board {board} is a {meant}, not a {profile.name}", hint=f"--device {meant}, or leave it out"
            )
        return Choice(f"{VIRTUAL}:{meant}", "emulated", f"as asked, {PRICED}")
    if board == "local":
        return Choice(board, "measured", "as asked")
    if "://" in board:
        Address.parse(board)
        return Choice(board, "measured", "as asked")
    named = inventory.get(board)
    if named.device != profile.name:
        raise ConfigError(f"board {board} is a {named.device}, not a {profile.name}")
    return Choice(board, "measured", "as asked", named)


def _obstacle(profile: DeviceProfile) -> BoardError | ConfigError | None:
    """Why this machine cannot emulate such a board, with the line that changes it; None if it can."""
    try:
        _require_emulator(profile)
    except (BoardError, ConfigError) as error:
        return error
    return None


def _require_emulator(profile: DeviceProfile) -> None:
    """Raise what stands in the way of a virtual board.

    Raises:
        ConfigError: The profile does not say enough.
        BoardError: A tool is missing; names the line that installs it.
    """
    from edgeopt.boards.virtual import cycles, tools

    cycles.CycleModel.of(profile)
    tools.require()
