"""From `--device` and `--board` to a board: which one, and why that one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgeopt.boards.address import Address
from edgeopt.boards.board import Board
from edgeopt.boards.facts import require_identity
from edgeopt.boards.inventory import Inventory, NamedBoard
from edgeopt.boards.predicted import Workload
from edgeopt.boards.runner import RunnerBoard
from edgeopt.core import plugins
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, ConfigError, ModelError
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import STRENGTH, Provenance


@dataclass(frozen=True, slots=True)
class Connected:
    """An open board, and one line for the user that says which it is and why."""

    board: Board
    reason: str


def connect(
    profile: DeviceProfile,
    board: str | None,
    inventory: Inventory,
    workload: Workload,
    require: Provenance | None = None,
) -> Connected:
    """Open the board to work on. Never falls back from the one that was meant to another provenance.

    Args:
        profile: Of `--device`.
        board: `--board`: `local`, `predicted`, an address, a name of the inventory; None: see below.
        workload: What an artifact costs, for predictions and for the roofline.
        require: Anything weaker is refused.

    Without `board`, this machine for the device `local`, else the first configured board of that device,
    else `predicted`.

    Raises:
        ConfigError: No such board, or it is configured as another device.
        ConnectError: It is unreachable, its host key is not trusted, or it lacks the runtime.
        BoardError: It is not such a device, or its provenance is weaker than `require`.
    """
    if board == "virtual":
        raise ConfigError(
            "virtual boards are not available in this version",
            hint="--board predicted needs no hardware; --board ssh://user@host:port measures on it",
        )
    why = ""
    named: NamedBoard | None = None
    if board is None:
        board, named, why = _choose(profile, inventory)
    elif board not in ("local", "predicted") and "://" not in board:
        named = inventory.get(board)
        if named.device != profile.name:
            raise ConfigError(f"board {board} is a {named.device}, not a {profile.name}")
    offered: Provenance = "predicted" if board == "predicted" else "measured"
    if require and STRENGTH[offered] < STRENGTH[require]:
        raise BoardError(
            f"--require {require}, but this board's figures would be {offered}{': ' + why if why else ''}",
            hint=f"edgeopt boards add NAME ssh://user@host --device {profile.name}",
        )
    if board == "predicted":
        return Connected(_predicted(profile, workload), f"board predicted: {why or 'as asked'}")
    address = named.address if named else Address.parse(board)
    opened = open_board(board if named else str(address), profile, address, workload)
    return Connected(opened, f"board {opened.name}: {opened.facts.model}, {why or 'as asked'}")


def open_board(name: str, profile: DeviceProfile, address: Address, workload: Workload) -> RunnerBoard:
    """Connect to a physical board and check that it is what the profile describes.

    Raises:
        ConnectError: Unreachable, host key not trusted, or no runtime.
        BoardError: Another kind of device.
        ConfigError: There is no such transport.
    """
    transport = plugins.load("transports", address.scheme)
    opened = RunnerBoard(name, profile.name, lambda: transport.connect(address), _ceiling(profile, workload))
    try:
        require_identity(profile, opened.facts, name)
    except BoardError:
        opened.close()
        raise
    return opened


def _choose(profile: DeviceProfile, inventory: Inventory) -> tuple[str, NamedBoard | None, str]:
    if profile.name == "local":
        return "local", None, "this machine"
    if configured := inventory.of_device(profile.name):
        first = configured[0]
        rest = f", the first of {len(configured)}" if len(configured) > 1 else ""
        return first.name, first, f"the configured {profile.name}{rest}"
    return (
        "predicted", None,
        f"no {profile.name} is configured: every figure comes from its profile, none is measured",
    )  # fmt: skip


def _predicted(profile: DeviceProfile, workload: Workload) -> Board:
    from edgeopt.boards.predicted import PredictedBoard
    from edgeopt.runtimes import onnxruntime

    return PredictedBoard(profile, workload, {onnxruntime.NAME: onnxruntime.version()})


def _ceiling(
    profile: DeviceProfile, workload: Workload
) -> Callable[[Artifact, Mapping[str, tuple[int, ...]]], float | None]:
    """How long an artifact's arithmetic takes at the device's peak; None where the profile does not say."""
    from edgeopt.boards.roofline import Roofline

    try:
        roofline = Roofline.of(profile)
    except ConfigError:
        return lambda _, __: None

    def ceiling_ms(artifact: Artifact, shapes: Mapping[str, tuple[int, ...]]) -> float | None:
        asked = artifact.session_options.get("threads")
        threads = asked if isinstance(asked, int) and asked > 0 else roofline.cores
        try:
            costs = workload(artifact, shapes)
        except ModelError:
            return None
        return sum(cost.flops / roofline.peak_gflops(cost.compute, threads) for cost in costs) / 1e6

    return ceiling_ms
