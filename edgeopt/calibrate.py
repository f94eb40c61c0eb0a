"""Ask a real board what its profile only claims, and keep the answers for that board.

Small models (`edgeopt.graph.kernels`) are measured as candidates are, on one thread and on all fast cores.
With models of one's own, the emulation of the device is fitted to the board, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from edgeopt.boards import overlay, profiles
from edgeopt.boards.board import Board
from edgeopt.boards.connect import connect
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.limit import closed_after
from edgeopt.boards.metering.energy import LEAST_WINDOW_S
from edgeopt.boards.resolve import VIRTUAL
from edgeopt.boards.roofline import last_cache_bytes
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import BoardError, ConnectError, MeasurementInvalid
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.profile import Confidence, DeviceProfile, Fact
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Quantity
from edgeopt.core.scratch import scratch
from edgeopt.measure import artifact_of, names_of, prepared
from edgeopt.options import MeasureOptions

if TYPE_CHECKING:
    from edgeopt.graph.kernels import Group

PROTOCOL = Protocol(
    "calibrate", processes=3, min_runs=20, window_s=1.5, slice_s=0.25, stop_ratio=None, deadline_s=120.0
)
"""Three processes tell how far one differs from the next; about two minutes in all."""

MOST_S = 300.0
"""After which measuring ends, wherever it is: a board that is never quiet is measured again and again."""

COPY_BYTES = 64 << 20
"""More than ten times the last cache of any board that there is a profile of."""
LEAST_CACHES, RAM_SHARE = 8, 16
"""The copied block is at least so many times the last cache, and at most this part of the memory."""

LATE = f"the {MOST_S / 60:.0f} minutes were over"

LOAD = "gemm_fp32"
"""The kernel that keeps the cores busiest: what the board draws meanwhile is its power under load."""

ORIGIN = "measured by edgeopt boards calibrate"
SURE, FAIR = 0.1, 0.25
"""Relative errors up to which a fact deserves high, and medium, confidence."""

METERS = ("meter", "pmic")
"""Sources of a power that is the board's: a model's is no answer of the board, RAPL's is the processor's."""

FAR_OFF = 2.0
"""A fact of the profile is doubted when the board says this many times more or less."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one kernel told.

    Attributes:
        value: In the unit of the fact.
        error: Half of its 95 % interval, relative.
        power_w: Drawn meanwhile by the board, by a meter; None without one.
        idle_w: Drawn by the idle board beside it, by a meter.
        energy_note: Why a meter did not tell.
        clock_hz: Of the core while it ran.
    """

    value: float
    error: float
    power_w: Quantity | None = None
    idle_w: Quantity | None = None
    energy_note: str | None = None
    clock_hz: float | None = None


def require_real(board: str) -> None:
    """Refuse what only stands in for a board, by its name.

    Raises:
        BoardError: It is virtual or predicted.
    """
    provenance = (
        "predicted" if board == "predicted" else "emulated" if board.partition(":")[0] == VIRTUAL else None
    )
    if provenance:
        raise BoardError(
            f"{board} is {provenance}: only a real board can be calibrated",
            hint="name one: edgeopt boards add NAME ssh://user@host --device DEVICE",
        )


def calibrate(options: MeasureOptions, observer: Observer | None = None) -> dict[str, Any]:
    """Measure what a board can do, and keep it for that board; with models, fit its emulation as well.

    Returns:
        `{"device", "board", "facts": [{"fact", "value", "unit", "source", "confidence", "measured",
        "profile", "doubtful"}…], "missing": [{"fact", "reason"}…], "file", "seconds", "emulation"}`;
        `emulation` is None without models, or where the time was over before, else `{"observations":
        [{"name", "threads", "measured_ms", "before_ms", "after_ms"}…], "factors", "log_sigma", "file"}`,
        whose `log_sigma` is None where too few models were measured to judge.

    Raises:
        ConfigError, ModelError, DataError: As `measure`; or the device cannot be emulated.
        BoardError: A board cannot serve, or the one that is named is not real.
    """
    from edgeopt.graph.workload import workload

    watching = observer or Observer()
    shipped = profiles.load(options.board.device)
    if options.models:
        _require_emulation(shipped)
    began = time.monotonic()
    connected = connect(
        shipped, options.board.board, Inventory.load(), workload, "measured", watching,
        options.board.pause_s, options.board.off_s,
    )  # fmt: skip
    with scratch() as folder, connected.board as board:
        if board.provenance != "measured":
            raise BoardError(f"{board.name} is {board.provenance}: only a real board can be calibrated")
        found, missing, is_over = measured(board, shipped, folder, watching)
        facts = as_facts(found, board)
        file = overlay.board_file(board.name)
        overlay.write(file, shipped.name, board.name, facts)
        rows = [
            _row(section, name, fact, shipped) for section, of in facts.items() for name, fact in of.items()
        ]
        if is_over and options.models:
            missing.append({"fact": "emulation", "reason": LATE})
        wanted = options.models and not is_over
        emulation = _emulation(options, shipped, board, folder, watching) if wanted else None
    return {
        "device": shipped.name,
        "board": board.name,
        "facts": rows,
        "missing": missing,
        "file": str(file),
        "seconds": time.monotonic() - began,
        "emulation": emulation,
    }


def measured(
    board: Board, profile: DeviceProfile, folder: Path, observer: Observer
) -> tuple[dict[str, Found], list[dict[str, str]], bool]:
    """What each kernel told, by its name (and `_1` for one thread); what none could tell, and why; and
    whether the time was over before all were asked, which leaves the board closed."""
    from edgeopt.graph import kernels

    threads = profiles.fast_cores(profile) or board.facts.cores
    wanted = kernels.groups(_copy_bytes(profile, board.facts.ram_bytes))
    observer.stage("calibrating", 2 * len(wanted))
    found: dict[str, Found] = {}
    missing: list[dict[str, str]] = []
    with closed_after(board, MOST_S) as over:
        for group in wanted:
            for count, suffix in ((1, "_1"), (threads, "")):
                told, failed = _asked(group, count, board, folder, over, is_busy=not suffix)
                found |= {f"{name}{suffix}": one for name, one in told.items()}
                missing += [{"fact": f"{name}{suffix}", "reason": reason} for name, reason in failed.items()]
                observer.advance()
    loaded = found.get(LOAD)
    if board.energy_source in METERS and loaded and loaded.power_w is None:
        missing.append({"fact": "power", "reason": loaded.energy_note or "its meter told nothing"})
    if not found:
        raise MeasurementInvalid(
            f"{board.name} could not be calibrated: {missing[0]['reason']}",
            hint="stop what else runs on it, let it cool, and repeat the command",
        )
    return found, missing, over.is_set()


def _asked(
    group: Group, threads: int, board: Board, folder: Path, over: Event, *, is_busy: bool
) -> tuple[dict[str, Found], dict[str, str]]:
    """What the kernels of one group told on so many threads, and why some did not."""
    reason = LATE
    if not over.is_set():
        artifacts = [_artifact(kernel.name, kernel.content, folder, threads) for kernel in group.kernels]
        try:
            return _told(
                group, board.measure(artifacts, group.feeds, _protocol(group, board, is_busy=is_busy))
            )
        except MeasurementInvalid as error:
            reason = error.message
        except ConnectError:
            if not over.is_set():
                raise
    return {}, {kernel.name: reason for kernel in group.kernels if kernel.work}


def _protocol(group: Group, board: Board, *, is_busy: bool) -> Protocol:
    """A power needs a longer window than a time; it is asked for once, with all cores busy."""
    if board.energy_source not in METERS or not is_busy or group.kernels[0].name != LOAD:
        return PROTOCOL
    return replace(PROTOCOL, window_s=max(PROTOCOL.window_s, LEAST_WINDOW_S / PROTOCOL.processes))


def as_facts(found: Mapping[str, Found], board: Board) -> dict[str, dict[str, Fact]]:
    """What was found as facts of a profile, by section."""
    runtime = ", ".join(f"{name} {version}" for name, version in board.facts.runtimes.items())
    kept: dict[str, dict[str, Fact]] = {"measured": {}, "memory": {}, "power": {}}

    def keep(
        section: str, name: str, one: Found | None, unit: str, how: str, value: float | None = None
    ) -> None:
        if one is None:
            return
        said = one.value if value is None else value
        source = f"{ORIGIN} on {date.today().isoformat()}: {how}, ±{one.error:.1%} ({runtime})"
        kept[section][name] = Fact(
            float(f"{said:.4g}"), unit, source, confidence(one.error), is_measured=True
        )

    for threads, suffix in (("one thread", "_1"), ("all fast cores", "")):
        square = f"512x512 matrices, {threads}"
        keep(
            "measured",
            f"gemm_fp32_gflops{suffix}",
            found.get(f"gemm_fp32{suffix}"),
            "GFLOP/s",
            f"MatMul of {square}",
        )
        keep(
            "measured",
            f"gemm_int8_gops{suffix}",
            found.get(f"gemm_int8{suffix}"),
            "Gop/s",
            f"MatMulInteger of {square}",
        )
    keep("measured", "copy_gbs", found.get("copy"), "GB/s copied", "Concat, all fast cores")
    keep("memory", "memcpy_gbs", found.get("copy_1"), "GB/s copied", "Concat, one thread")
    keep(
        "measured",
        "dispatch_us",
        found.get("dispatch_1"),
        "us per executed node",
        "256 nodes that do nothing, one thread",
    )
    load, alone = found.get(LOAD), found.get(f"{LOAD}_1")
    for name, power, when in (
        ("stress_w", load and load.power_w, "during"), ("idle_w", load and load.idle_w, "beside"),
    ):  # fmt: skip
        if power:
            drawn = Found(power.value, power.relative_error)
            keep("power", name, drawn, "W", f"by its {power.source}, {when} MatMul on all fast cores")
    if alone and alone.clock_hz:
        keep(
            "measured", "clock_ghz", alone, "GHz", "as the board tells it after MatMul", alone.clock_hz / 1e9
        )
    return {section: facts for section, facts in kept.items() if facts}


def confidence(error: float) -> Confidence:
    """How far to trust a figure whose processes disagree by `error`, relative."""
    if error <= SURE:
        return "high"
    return "medium" if error <= FAIR else "low"


def _told(group: Group, results: Sequence[Any]) -> tuple[dict[str, Found], dict[str, str]]:
    """What the kernels of one group told, a base subtracted from what is built on it."""
    ran = {k.name: r for k, r in zip(group.kernels, results, strict=True) if isinstance(r, Measurement)}
    found: dict[str, Found] = {}
    failed: dict[str, str] = {}
    for kernel, result in zip(group.kernels, results, strict=True):
        if not kernel.work:
            continue
        if not isinstance(result, Measurement) or (kernel.base and kernel.base not in ran):
            failed[kernel.name] = getattr(result, "message", "what it is compared with did not run")
            continue
        if result.validity:
            failed[kernel.name] = result.validity
            continue
        ms, half_ms = result.p50_ms, (result.latency.high - result.latency.low) / 2
        if kernel.base:
            base = ran[kernel.base]
            ms -= base.p50_ms
            half_ms = (half_ms**2 + ((base.latency.high - base.latency.low) / 2) ** 2) ** 0.5
        if ms <= half_ms:
            failed[kernel.name] = f"lost in the noise: {ms:.3g} ms ± {half_ms:.2g}"
            continue
        # us per node for the chain, else 10^9 operations or bytes a second.
        value = 1e3 * ms / kernel.work if kernel.name == "dispatch" else kernel.work / ms / 1e6
        found[kernel.name] = Found(
            value, half_ms / ms, *_power(result), result.energy_note, result.clock_hz
        )  # fmt: skip
    return found, failed


def _power(result: Measurement) -> tuple[Quantity | None, Quantity | None]:
    """Drawn under load, and by the idle board; only what a meter of the board says."""
    power, energy, net = result.power_w, result.energy_mj, result.net_energy_mj
    if power is None or power.source not in METERS:
        return None, None
    if not energy or not net or not energy.value:
        return power, None
    idle_w, share = power.value * (1 - net.value / energy.value), power.relative_error
    return power, replace(power, value=idle_w, low=idle_w * (1 - share), high=idle_w * (1 + share))


def _row(section: str, name: str, fact: Fact, profile: DeviceProfile) -> dict[str, Any]:
    claimed = _claimed(profile, section, name)
    off = fact.value / claimed if claimed else None
    return {
        "fact": f"{section}.{name}",
        "value": fact.value,
        "unit": fact.unit,
        "source": fact.source,
        "confidence": fact.confidence,
        "measured": fact.is_measured,
        "profile": claimed,
        "doubtful": off is not None and not 1 / FAR_OFF <= off <= FAR_OFF,
    }


def _claimed(profile: DeviceProfile, section: str, name: str) -> float | None:
    """What the profile says of the same thing: for arithmetic its peak, which nothing reaches."""
    kinds = {"gemm_fp32_gflops": "fp32_flops_per_cycle", "gemm_int8_gops": "int8_ops_per_cycle"}
    width = kinds.get(name.removesuffix("_1"))
    if section == "measured" and width:
        per_cycle, clock = profile.get("cpu", width), profile.get("cpu", "clock_ghz")
        cores = 1 if name.endswith("_1") else profile.get("cpu", "cores")
        return float(per_cycle * clock * cores) if per_cycle and clock and cores else None
    places = {"dispatch_us": ("model", "node_overhead_us"), "clock_ghz": ("cpu", "clock_ghz")}
    value = profile.get(*places.get(name, (section, name)))
    return None if value is None else float(value)


def _copy_bytes(profile: DeviceProfile, ram_bytes: int | None) -> int:
    wanted = max(COPY_BYTES, LEAST_CACHES * last_cache_bytes(profile))
    return min(wanted, ram_bytes // RAM_SHARE) if ram_bytes else wanted


def _artifact(name: str, content: bytes, folder: Path, threads: int) -> Artifact:
    path = folder / f"{name}.onnx"
    path.write_bytes(content)
    settings: dict[str, object] = {
        "threads": threads,
        "graph_optimization_level": "all",
        "allow_spinning": True,
    }
    return Artifact(name, path, file_digest(path), len(content), session_options=settings)


def _require_emulation(profile: DeviceProfile) -> None:
    """Refuse before minutes are spent on the board."""
    from edgeopt.boards.virtual import tools
    from edgeopt.boards.virtual.cycles import CycleModel

    CycleModel.of(profile)
    tools.require()


def _emulation(
    options: MeasureOptions, profile: DeviceProfile, board: Board, folder: Path, observer: Observer
) -> dict[str, Any]:
    """Fit the emulation of the device to the board, on one thread and on all fast cores."""
    from edgeopt.boards.virtual import calibrating
    from edgeopt.boards.virtual.calibration import PRIOR_SIGMA

    models, feeds = prepared(options)
    names = names_of(options.models)
    artifacts = [(n, artifact_of(m, folder, options)) for n, m in zip(names, models, strict=True)]
    threads = (1, profile.get("cpu", "cores"))
    observer.stage("measuring and counting", len(artifacts) * len(threads))
    protocol = profiles.protocols(profile, options.effort)["rank"]
    found = calibrating.calibrate(profile, board, artifacts, feeds, protocol, threads, observer)
    file = calibrating.save(profile, found, board.name)
    return {
        "observations": [
            {
                "name": seen.group, "threads": seen.threads, "measured_ms": seen.measured_ms,
                "before_ms": found.before.latency_ms(seen.cycles, seen.traffic, seen.threads),
                "after_ms": found.after.latency_ms(seen.cycles, seen.traffic, seen.threads),
            }
            for seen in found.observations
        ],
        "factors": {name: getattr(found.after, name) for name in PRIOR_SIGMA},
        "log_sigma": found.judged,
        "file": str(file),
    }  # fmt: skip
