"""What a device profile may say: every fact with its kind, its unit and its plausible range.

`problems` finds all that is wrong with a file, each by the name of its key. A profile is used when it says
what it must (`profiles.check`); `edgeopt devices check`, and the conformance suite of those that ship, hold
it to all of this.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.boards import profiles
from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile

GUIDE = "docs/adding-a-device.md"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one fact may be.

    Attributes:
        unit: The first word of its unit.
        low: Least value, of every number.
        high: Greatest.
        is_list: A list of such values.
        whole: Whole numbers only.
        kind: `number`, `text`, `flag` or `table`.
        may_be_empty: Whether an empty list says something.
    """

    unit: str
    low: float = 0.0
    high: float = float("inf")
    is_list: bool = False
    whole: bool = False
    kind: str = "number"
    may_be_empty: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value; None if nothing is."""
        if self.is_list != isinstance(value, list):
            return f"must be {'a list' if self.is_list else 'no list'}, not {value!r}"
        if self.is_list and not value and not self.may_be_empty:
            return "must not be empty"
        return next((said for one in (value if self.is_list else [value]) if (said := self._of(one))), None)

    def _of(self, value: Any) -> str | None:
        if self.kind != "number":
            kind = {"text": str, "flag": bool, "table": dict}[self.kind]
            return (
                None if isinstance(value, kind) and value != "" else f"must be a {self.kind}, not {value!r}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"must be a number, not {value!r}"
        if not self.low <= value <= self.high:
            return f"is {value:g} {self.unit}: between {self.low:g} and {self.high:g} is plausible"
        return f"must be a whole number, not {value}" if self.whole and value != int(value) else None


def text(unit: str, *, is_list: bool = False) -> Rule:
    """A name, or several."""
    return Rule(unit, kind="text", is_list=is_list)


def share(unit: str = "ratio", high: float = 1.0) -> Rule:
    """A part of something."""
    return Rule(unit, 0.0, high)


CORE = {
    "core": text("name"),
    "cores": Rule("cores", 1, 1024, whole=True),
    "part": text("CPU"),
    "clock_ghz": Rule("GHz", 0.1, 10),
    "fp32_flops_per_cycle": Rule("FLOP/cycle/core", 1, 256),
    "int8_ops_per_cycle": Rule("op/cycle/core", 1, 2048),
}
"""Of one kind of core."""

WATTS = Rule("W", 0.05, 500)
CACHE = Rule("bytes", 1024, 1 << 30, whole=True)
GBS = Rule("GB/s", 0.05, 2000)
NANOSECONDS = Rule("ns", 0.1, 10_000)

SECTIONS: Mapping[str, Mapping[str, Rule]] = {
    "cpu": CORE | {
        "machine": text("uname"),
        "boost_clock_ghz": Rule("GHz", 0.1, 10),
        "features": text("flags", is_list=True),
    },
    "little": CORE,
    "identity": {
        "models": text("patterns", is_list=True),
        "compatible": text("strings", is_list=True),
        "parts": text("CPU", is_list=True),
        "cores": Rule("cores", 1, 1024, whole=True),
    },
    "measured": {
        "gemm_fp32_gflops_1": Rule("GFLOP/s", 0.01, 1e5),
        "gemm_fp32_gflops": Rule("GFLOP/s", 0.01, 1e6),
        "gemm_int8_gops_1": Rule("Gop/s", 0.01, 1e5),
        "gemm_int8_gops": Rule("Gop/s", 0.01, 1e6),
        "copy_gbs": GBS,
        "dispatch_us": Rule("us", 0, 10_000),
        "clock_ghz": Rule("GHz", 0.1, 10),
    },
    "cache": {"l1d_bytes": CACHE, "l2_bytes": CACHE, "l3_bytes": CACHE},
    "memory": {
        "ram_bytes": Rule("bytes", 1 << 26, 1 << 42, is_list=True, whole=True),
        "memcpy_gbs": GBS,
        "memset_gbs": GBS,
    },
    "power": {"idle_w": WATTS, "stress_w": WATTS, "model_idle_w": WATTS, "model_k_w": WATTS},
    "thermal": {
        "soft_limit_c": Rule("C", 30, 125),
        "hard_limit_c": Rule("C", 30, 125),
        "fan_steps_c": Rule("C", 20, 125, is_list=True),
    },
    "measurement": {
        **dict.fromkeys(profiles.STAGES, Rule("protocol", kind="table")),
        "max_drift": share(),
        "max_control_drift": share(high=10),
        "max_process_cv": share("coefficient"),
        "quiet_process_cv": share("coefficient"),
        "quiet_drift": share(),
        "max_other_cpu": share("share"),
        "min_clock_ratio": Rule("measured", 0.5, 1),
        "max_swap_bytes": Rule("bytes", 0, 1e12, whole=True),
        "max_temperature_c": Rule("C", 30, 125),
        "tries": Rule("tries", 1, 100, whole=True),
        "cooldown_s": Rule("s", 0, 3600),
    },
    "emulation": {
        "llvm_core": text("core"),
        **{f"l{level}_ways": Rule("ways", 1, 1024, whole=True) for level in (1, 2, 3)},
        **{f"l{level}_{what}_ns": NANOSECONDS for level in (2, 3) for what in ("latency", "stream")},
        **{f"l{level}_shared": Rule("whether", kind="flag") for level in (2, 3)},
        "dram_latency_ns": NANOSECONDS,
        "dram_core_gbs": GBS,
        "dram_gbs": GBS,
        "energy_per_cycle_nj": Rule("nJ", 0.001, 100),
        "compute_factor": Rule("ratio", 0.05, 20),
        "memory_factor": Rule("ratio", 0.05, 20),
        "serial_fraction": share(),
        "log_sigma": Rule("standard", 0.001, 3),
        "pairwise_error": Rule("ratio", 0.001, 5),
        "verified": Rule("runtimes", is_list=True, kind="text", may_be_empty=True),
    },
    "model": {
        "efficiency_fp32": Rule("ratio", 0.001, 5),
        "efficiency_int8": Rule("ratio", 0.001, 5),
        "serial_fraction": share(),
        "traffic_factor": Rule("ratio", 0.01, 100),
        "node_overhead_us": Rule("us", 0, 10_000),
        "log_sigma_fp32": Rule("standard", 0.001, 3),
        "log_sigma_int8": Rule("standard", 0.001, 3),
        "pairwise_error": Rule("ratio", 0.001, 5),
    },
}  # fmt: skip
"""Every section and fact. A new fact needs a line here and one in `docs/adding-a-device.md`."""

LITTLE_NEEDS = ("core", "cores", "part", "clock_ghz", "fp32_flops_per_cycle")


def problems(path: Path) -> list[str]:
    """All that is wrong with a profile, each beginning with the key; empty if nothing is.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the device profile {path}: {error}") from error
    found = [] if isinstance(raw.pop("title", None), str) else ["title: is missing"]
    for section, body in raw.items():
        if not isinstance(body, dict):
            found.append(f"{section}: is not a section")
        elif section not in SECTIONS:
            found.append(f"[{section}]: is not a section{_near(section, SECTIONS)}")
        else:
            for name, fact in body.items():
                found += [f"{section}.{name}: {said}" for said in _fact(section, name, fact)]
    if found:
        return found
    try:
        profile = profiles.check(path)
    except ConfigError as error:
        return [error.message.removeprefix(f"{path}: ")]
    return [said for check in TOGETHER for said in check(profile)]


def _fact(section: str, name: str, fact: Any) -> list[str]:
    rule = SECTIONS[section].get(name)
    if rule is None:
        return [f"is not a fact of [{section}]{_near(name, SECTIONS[section])}"]
    if not isinstance(fact, dict) or set(fact) != {"value", "unit", "source", "confidence"}:
        return ["needs exactly value, unit, source and confidence"]
    found = [said] if (said := rule.problem(fact["value"])) else []
    unit, source = fact["unit"], fact["source"]
    if not isinstance(unit, str) or unit.replace(",", " ").split()[:1] != [rule.unit]:
        found.append(f"its unit begins with {rule.unit!r}, not {unit!r}")
    if not isinstance(source, str) or len(source.strip()) <= 5:
        found.append(f"its source must say where it comes from, not {source!r}")
    if fact["confidence"] not in ("high", "medium", "low"):
        found.append(f"its confidence is high, medium or low, not {fact['confidence']!r}")
    return found


def _near(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _dot_product(profile: DeviceProfile) -> list[str]:
    has = "asimddp" in (profile.get("cpu", "features") or ())
    if has == (profile.fact("cpu", "int8_ops_per_cycle") is not None):
        return []
    return ["cpu.int8_ops_per_cycle: is there exactly where cpu.features has asimddp"]


def _two_kinds(profile: DeviceProfile) -> list[str]:
    """With slow cores beside the fast ones, a board is recognised by both."""
    if "little" not in profile.facts:
        return []
    found = [f"little.{name}: is missing" for name in LITTLE_NEEDS if profile.fact("little", name) is None]
    if found:
        return found
    parts = [profile.get(section, "part") for section in ("cpu", "little")]
    if profile.get("identity", "parts") != parts:
        found.append(f"identity.parts: must be {parts}, those of [cpu] and [little]")
    both = profile.get("cpu", "cores") + profile.get("little", "cores")
    if profile.get("identity", "cores") != both:
        found.append(f"identity.cores: must be {both}, those of [cpu] and [little]")
    return found


def _in_order(profile: DeviceProfile) -> list[str]:
    """What must be less than something else."""
    pairs = (
        (("power", "idle_w"), ("power", "stress_w")),
        (("measurement", "max_temperature_c"), ("thermal", "soft_limit_c")),
        (("thermal", "soft_limit_c"), ("thermal", "hard_limit_c")),
        (("cpu", "clock_ghz"), ("cpu", "boost_clock_ghz")),
        (("cache", "l1d_bytes"), ("cache", "l2_bytes")),
        (("cache", "l2_bytes"), ("cache", "l3_bytes")),
    )
    return [
        f"{'.'.join(less)}: is {profile.get(*less)}, above {'.'.join(more)}, {profile.get(*more)}"
        for less, more in pairs
        if profile.fact(*less) and profile.fact(*more) and profile.get(*less) > profile.get(*more)
    ]


def _recognisable(profile: DeviceProfile) -> list[str]:
    if "cpu" in profile.facts and not any(profile.fact("identity", n) for n in ("models", "compatible")):
        return ["identity.models: is missing, or identity.compatible: nothing tells boards of one core apart"]
    return []


TOGETHER: tuple[Callable[[DeviceProfile], list[str]], ...] = (
    _dot_product, _two_kinds, _in_order, _recognisable,
)  # fmt: skip
"""What facts must be together."""
