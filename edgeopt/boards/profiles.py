"""Device profiles: which there are, reading one by name, and checking that one is complete.

To add a device, add one file: `device_profiles/<name>.toml`, or the same in `$EDGEOPT_HOME/devices/`
for devices of one's own. `docs/adding-a-device.md` lists sections and facts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgeopt.boards import overlay
from edgeopt.boards.places import home
from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError
from edgeopt.core.measurement import Protocol
from edgeopt.core.profile import DeviceProfile
from edgeopt.resources import resource

Effort = Literal["quick", "normal", "thorough"]
STAGES = ("screen", "rank", "final")

WINDOW_SCALE: Mapping[Effort, float] = {"quick": 0.25, "normal": 1.0, "thorough": 2.0}

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "measurement": (
        *STAGES, "max_drift", "max_control_drift", "max_process_cv", "max_other_cpu", "tries", "cooldown_s",
    ),
}  # fmt: skip
"""What every profile must say."""

REQUIRED_OF_HARDWARE: Mapping[str, tuple[str, ...]] = {
    "cpu": ("core", "cores", "part", "machine", "clock_ghz", "fp32_flops_per_cycle", "features"),
    "memory": ("ram_bytes", "memcpy_gbs"),
    "thermal": ("soft_limit_c",),
    "measurement": ("max_temperature_c", "min_clock_ratio"),
}
"""What a profile of one kind of board must say too; `local`, which may be anything, has no `[cpu]`."""

REQUIRED_OF_PREDICTIONS: Mapping[str, tuple[str, ...]] = {
    "model": (
        "efficiency_fp32", "efficiency_int8", "serial_fraction", "traffic_factor", "node_overhead_us",
        "log_sigma_fp32", "log_sigma_int8", "pairwise_error",
    ),
}  # fmt: skip
"""What a profile must say too once it has a `[model]`: `benchmarks/fit_predicted.py` writes all of it."""

REQUIRED_OF_EMULATIONS: Mapping[str, tuple[str, ...]] = {
    "emulation": (
        "llvm_core", "l1_ways", "dram_latency_ns", "dram_core_gbs", "dram_gbs", "compute_factor",
        "memory_factor", "serial_fraction", "log_sigma", "pairwise_error",
    ),
    "cache": ("l1d_bytes",),
}  # fmt: skip
"""What a profile must say too once it has an `[emulation]`: a virtual board's cycle model reads all of it."""

IDENTITY = {"models": str, "compatible": str, "parts": str, "cores": int}
"""What `[identity]` may say: lists of text but for `cores`. All of it is optional; see `boards.identity`."""

POSITIVE = ("_ghz", "_gbs", "_w", "_bytes", "_per_cycle", "_ns", "_nj", "_ways", "_factor")
"""Names of facts that are above 0 end so."""

NUMERIC = (int, float)

OPTIONAL = {"stop_ratio", "dominated_ratio", "enough_ci"}
"""What a stage may say besides: when it gives up or has enough."""


def folders() -> tuple[Path, ...]:
    """Where profiles are looked up: the user's own first, then those that ship with edgeopt."""
    return (home() / "devices", resource("device_profiles"))


def names() -> tuple[str, ...]:
    """The devices that can be named, sorted."""
    return tuple(sorted({path.stem for folder in folders() for path in folder.glob("*.toml")}))


def load(name: str, board: str | None = None) -> DeviceProfile:
    """Read and check the profile of a device by its name, or by the path of its `.toml`.

    Args:
        board: Of the unit whose measured facts (`edgeopt boards calibrate`) go before the profile's; None for
            none. What was fitted for virtual boards of the device is always in it.

    Raises:
        ConfigError: No such device (the hint lists those there are), or its profile is malformed.
    """
    candidates = [Path(name)] if name.endswith(".toml") else [folder / f"{name}.toml" for folder in folders()]
    for path in candidates:
        if path.is_file():
            profile = overlay.of_device(check(path))
            return overlay.of_board(profile, board) if board else profile
    raise ConfigError(
        f"unknown device {name!r}", hint=f"known: {', '.join(names())}; or give the path of a .toml"
    )


def check(path: Path) -> DeviceProfile:
    """Read a profile and check that it says what it must.

    Raises:
        ConfigError: Unreadable, or naming the first fact that is missing or of the wrong kind.
    """
    profile = DeviceProfile.read(path)
    required = [(REQUIRED, "")]
    if "cpu" in profile.facts:
        required.append((REQUIRED_OF_HARDWARE, " (it has a [cpu], so it describes one kind of board)"))
    if "model" in profile.facts:
        required.append((REQUIRED_OF_PREDICTIONS, " (it has a [model], so it predicts)"))
    if "emulation" in profile.facts:
        required.append((REQUIRED_OF_EMULATIONS, " (it has an [emulation], so it can be emulated)"))
    for sections, why in required:
        for section, facts in sections.items():
            for fact in facts:
                if profile.fact(section, fact) is None:
                    raise ConfigError(f"{path}: {section}.{fact} is missing{why}")
    for section, facts_of in profile.facts.items():
        for fact, known in facts_of.items():
            if fact.endswith(POSITIVE) and not _positive(known.value):
                raise ConfigError(f"{path}: {section}.{fact} must be positive, not {known.value!r}")
    _identity(path, profile)
    for stage in STAGES:
        _protocol(path, profile, stage)
    return profile


def fast_cores(profile: DeviceProfile) -> int | None:
    """How many cores are fast, where slow ones stand beside them (`[little]`); None where all are alike."""
    return int(profile.get("cpu", "cores")) if "little" in profile.facts else None


def protocols(
    profile: DeviceProfile, effort: Effort = "normal", setting: Setting | None = None
) -> dict[str, Protocol]:
    """How each stage measures on this device.

    `quick` shortens the windows to a quarter and the least number of runs with them, so it supports fewer
    percentiles; `thorough` doubles the windows.

    Raises:
        ConfigError: The profile's protocol is malformed.
    """
    scale = WINDOW_SCALE[effort]
    stages = {stage: _protocol(Path(f"{profile.name}.toml"), profile, stage) for stage in STAGES}
    return {
        stage: replace(
            protocol,
            window_s=protocol.window_s * scale,
            min_runs=round(protocol.min_runs * min(1.0, scale)),
            deadline_s=protocol.deadline_s * max(1.0, scale),
            setting=setting or Setting(),
        )
        for stage, protocol in stages.items()
    }


def _identity(path: Path, profile: DeviceProfile) -> None:
    for name, fact in profile.facts.get("identity", {}).items():
        kind = IDENTITY.get(name)
        if kind is None:
            raise ConfigError(f"{path}: identity.{name} is not one of {', '.join(IDENTITY)}")
        if kind is int and not (_positive(fact.value) and isinstance(fact.value, int)):
            raise ConfigError(f"{path}: identity.{name} must be a number of cores, not {fact.value!r}")
        if kind is str and not _texts(fact.value):
            raise ConfigError(f"{path}: identity.{name} must be a list of text, not {fact.value!r}")
    parts, part = profile.get("identity", "parts") or [], profile.get("cpu", "part")
    if parts and part not in parts:
        raise ConfigError(f"{path}: identity.parts lacks cpu.part, which is {part}")
    if wrong := [one for one in parts if not re.fullmatch("0x[0-9a-f]{3}", one)]:
        raise ConfigError(
            f"{path}: identity.parts: {wrong[0]!r} is no CPU part as /proc/cpuinfo has it (0xd03)"
        )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)


def _protocol(path: Path, profile: DeviceProfile, stage: str) -> Protocol:
    raw = profile.get("measurement", stage)
    known = {"processes", "min_runs", "window_s", "slice_s", "deadline_s"}
    if not isinstance(raw, dict) or set(raw) - OPTIONAL != known:
        raise ConfigError(f"{path}: measurement.{stage} needs exactly {', '.join(sorted(known))}")
    if bad := sorted(name for name, value in raw.items() if not _positive(value)):
        raise ConfigError(f"{path}: measurement.{stage}: {bad[0]} must be a positive number")
    if stage == "final" and "enough_ci" in raw:
        raise ConfigError(
            f"{path}: measurement.final may not have enough_ci: how many processes there are must not "
            "depend on what they say"
        )
    return Protocol(
        name=stage,
        processes=int(raw["processes"]),
        min_runs=int(raw["min_runs"]),
        window_s=float(raw["window_s"]),
        slice_s=float(raw["slice_s"]),
        stop_ratio=_optional(raw, "stop_ratio"),
        deadline_s=float(raw["deadline_s"]),
        dominated_ratio=_optional(raw, "dominated_ratio"),
        enough_ci=_optional(raw, "enough_ci"),
    )


def _optional(raw: Mapping[str, Any], name: str) -> float | None:
    return float(raw[name]) if name in raw else None


def _positive(value: Any) -> bool:
    """A positive number, or a list of them; TOML's true is not a number."""
    if isinstance(value, list):
        return bool(value) and all(_positive(one) for one in value)
    return isinstance(value, NUMERIC) and not isinstance(value, bool) and 0 < value < float("inf")
