"""Which devices are meant, from `--board` and `--group`."""

from __future__ import annotations

from collections.abc import Sequence

from edgeopt.boards.address import Address
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.resolve import VIRTUAL, virtual_device
from edgeopt.core.errors import ConfigError, ConnectError
from edgeopt.core.progress import Observer
from edgeopt.field.device import ROOT, Target


def targets(
    boards: Sequence[str],
    groups: Sequence[str],
    inventory: Inventory,
    *,
    root: str | None = None,
    sudo: bool = False,
    start: Observer | None = None,
) -> list[Target]:
    """The devices, each once, in the order in which they are named; of a group, as in boards.toml.

    Args:
        boards: Names of boards.toml, addresses, `local`, or `virtual:DEVICE`.
        groups: Names of groups.
        root: Folder on the devices in which packages are installed; None: what boards.toml says.
        start: Who is told that a virtual board is started; None: one that is not up is an error.

    Raises:
        ConfigError: No such board or group, none is named, or two names mean one device.
        ConnectError: A virtual board is not up.
    """
    found: dict[str, Target] = {}
    for name in boards:
        found.setdefault(name, _target(name, inventory, root, sudo, start))
    for group in groups:
        for board in inventory.of_group(group):
            found.setdefault(board.name, _target(board.name, inventory, root, sudo, start))
    if not found:
        raise ConfigError("which devices?", hint="--board NAME, as often as needed, or --group NAME")
    places: dict[tuple[Address, str], str] = {}
    for target in found.values():
        if (other := places.setdefault((target.address, target.root), target.name)) != target.name:
            raise ConfigError(f"{other} and {target.name} are the same device")
    return list(found.values())


def _target(name: str, inventory: Inventory, root: str | None, sudo: bool, start: Observer | None) -> Target:
    if name == VIRTUAL or virtual_device(name):
        return Target(name, Address.parse(_virtual(name, start)), root or ROOT)
    if "://" in name or name == "local":
        return Target(name, Address.parse(name), root or ROOT, sudo)
    board = inventory.get(name)
    where = root or board.field_root or ROOT
    return Target(name, board.address, where, sudo, board.power_cycle)


def _virtual(name: str, start: Observer | None) -> str:
    """The address of a virtual board, entered as root, for packages are the system's.

    Raises:
        ConfigError: Several are up, and the name does not say which.
        ConnectError: It is not up.
    """
    from edgeopt.boards import profiles
    from edgeopt.boards.virtual import machine

    device = virtual_device(name)
    there = [board for board in machine.running() if device in (None, board.device)]
    if len(there) == 1:
        return there[0].root_url
    if there:
        raise ConfigError(f"which virtual board? {len(there)} are up", hint=f"{there[0].name}, for one")
    up = f"edgeopt boards up {device or 'rpi4'}"
    if start is None or device is None:
        raise ConnectError(f"{name} is not up, and remembers nothing from before", hint=up)
    start.announce(f"{name} is started, and stays up until edgeopt boards down {device}")
    return machine.up(profiles.load(device), keep=True, observer=start).root_url
