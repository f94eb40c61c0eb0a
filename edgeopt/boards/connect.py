"""From `--device` and `--board` to a board: which one, and why that one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeopt.boards import overlay
from edgeopt.boards.address import Address
from edgeopt.boards.board import Board
from edgeopt.boards.checks import SET_CLOCK, wrong_clock
from edgeopt.boards.identity import VIRTUAL_MACHINE, accepting, require_identity
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.lease import Claim
from edgeopt.boards.metering.link import Link
from edgeopt.boards.patience import patiently
from edgeopt.boards.predicted import Workload
from edgeopt.boards.resolve import resolve
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.validity import Thresholds
from edgeopt.core import plugins
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, ConfigError, ModelError
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Provenance

if TYPE_CHECKING:
    from edgeopt.boards.virtual.board import VirtualBoard

Ceiling = Callable[[Artifact, Mapping[str, tuple[int, ...]]], float | None]
"""How long an artifact's arithmetic takes at the device's peak in ms, given the shapes of its inputs; None
where the profile does not say."""


@dataclass(frozen=True, slots=True)
class Connected:
    """An open board, and one line for the user that says which it is and why.

    Attributes:
        power_cycle: Command of this machine that takes its power away and gives it back, if there is one.
    """

    board: Board
    reason: str
    power_cycle: str | None = None


def connect(
    profile: DeviceProfile,
    board: str | None,
    inventory: Inventory,
    workload: Workload,
    require: Provenance | None = None,
    observer: Observer | None = None,
    wait_s: float = 0.0,
    off_s: float = 0.0,
) -> Connected:
    """Open the board to work on. Never falls back from the one that was meant to another provenance.

    Args:
        profile: Of `--device`.
        board: `--board`, see `edgeopt.boards.resolve.resolve`; None to choose one.
        workload: What an artifact costs, for predictions and for the roofline.
        require: Anything weaker is refused.
        observer: Is told which board and why, for a virtual one before it is started; and who has it.
        wait_s: How long to wait while somebody else has the board.
        off_s: How long to wait for a physical board that is off, or not to be reached.

    Raises:
        ConfigError: No such board, or it is configured as another device.
        BusyError: Somebody else has it.
        ConnectError: It is unreachable, its host key is not trusted, or it lacks the runtime.
        BoardError: It is not such a device, an emulator answers at its address, its provenance is weaker than
            `require`, or this machine lacks what emulates it.
    """
    watching = observer or Observer()
    chosen = resolve(profile, board, inventory, require)
    if chosen.provenance != "measured":
        reason = f"board {chosen.name}: {chosen.why}"
        watching.announce(reason)
        emulated = chosen.provenance == "emulated"
        opened = _virtual(profile, workload, watching) if emulated else _predicted(profile, workload)
        return Connected(opened, reason)
    address = chosen.named.address if chosen.named else Address.parse(chosen.name)
    name, claim = chosen.name if chosen.named else str(address), Claim(wait_s, watching)
    profile = overlay.of_board(profile, name)
    power = Link.of(chosen.named.meter if chosen.named else None, profile, inventory.address_of)
    physical = patiently(
        lambda: open_board(name, profile, address, workload, watching, power, claim), name, off_s, watching
    )
    try:
        _require_hardware(physical, profile, address)
    except BoardError:
        physical.close()
        raise
    reason = f"board {physical.name}: {physical.facts.model}, {chosen.why}"
    watching.announce(reason)
    now_s = time.time()
    if said := wrong_clock(now_s + physical.clock_error_s, now_s):
        watching.announce(f"remark: the board's clock says {said}; {SET_CLOCK} there mends it")
    return Connected(physical, reason, chosen.named.power_cycle if chosen.named else None)


def _require_hardware(board: RunnerBoard, profile: DeviceProfile, address: Address) -> None:
    """Refuse to call measured what an emulator's clock says; this machine itself is whatever it is.

    Raises:
        BoardError: QEMU's virtual machine answers at an address.
    """
    if address.scheme == "local" or VIRTUAL_MACHINE not in board.facts.compatible:
        return
    devices = [profile.name] if profile.name != "local" else accepting(board.facts)
    device = next((name for name in devices if name != "local"), "DEVICE")
    raise BoardError(
        f"{board.name} is an emulator's virtual machine: what its clock says is no board's latency",
        hint=f"--board virtual:{device} prices what it executes",
    )


def open_board(
    name: str,
    profile: DeviceProfile,
    address: Address,
    workload: Workload,
    observer: Observer | None = None,
    power: Link | None = None,
    claim: Claim | None = None,
) -> RunnerBoard:
    """Connect to a physical board and check that it is what the profile describes.

    `power` is how its energy is known.

    Raises:
        BusyError: Somebody else has it.
        ConnectError: Unreachable, host key not trusted, or no runtime.
        BoardError: Another kind of device.
        ConfigError: There is no such transport.
    """
    transport = plugins.load("transports", address.scheme)
    opened = RunnerBoard(
        name,
        profile.name,
        lambda: transport.connect(address),
        ceiling(profile, workload),
        observer,
        Thresholds.of(profile),
        power,
        claim,
        address.model,
    )
    try:
        require_identity(profile, opened.facts, name)
    except BoardError:
        opened.close()
        raise
    return opened


def _predicted(profile: DeviceProfile, workload: Workload) -> Board:
    from edgeopt.boards.predicted import PredictedBoard
    from edgeopt.runtimes import onnxruntime

    return PredictedBoard(profile, workload, {onnxruntime.NAME: onnxruntime.version()})


def _virtual(profile: DeviceProfile, workload: Workload, observer: Observer) -> VirtualBoard:
    from edgeopt.boards.virtual.board import VirtualBoard

    return VirtualBoard.open(profile, ceiling(profile, workload), observer)


def ceiling(profile: DeviceProfile, workload: Workload) -> Ceiling:
    """What tells the time of an artifact's arithmetic on a device."""
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
