"""From what an emulated core executed to the milliseconds of a board.

Time is the cycles of the executed blocks at the board's clock, divided among the threads, plus what the
simulated caches missed: waiting for the next level, and moving lines from memory that all cores share. The
terms are added, since small cores hide little of their memory time (`docs/adr/0009-emulated-time.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards.virtual import energy
from edgeopt.boards.virtual.counting import Counts, Segment
from edgeopt.boards.virtual.prices import Priced, PriceList
from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import Quantity

LINE_BYTES = 64
LEVELS = ("l1", "l2", "l3")
NEXT_FACTS = ("latency_ns", "stream_ns", "shared")
Z_95 = 1.96
"""Half-width of a 95 % interval in standard deviations."""

NEEDED = (
    "llvm_core", "dram_latency_ns", "dram_core_gbs", "dram_gbs", "compute_factor", "memory_factor",
    "serial_fraction", "log_sigma", "pairwise_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a counted run costs on the board.

    Attributes:
        latency: In ms, `emulated`, with the model's 95 % interval.
        cycles: Priced, of all cores together, without waiting for memory, before calibration.
        energy_mj: Of one inference, modelled; None where the profile has no power figures.
        power_w: Its mean.
        cpu_utilization: CPU time / (wall time * cores), 0..1.
        segments_ms: Latency of each counted segment, in order; they add up to the latency.
        unknown: Share of the executed instructions whose cost is not known.
    """

    latency: Quantity
    cycles: float
    energy_mj: Quantity | None
    power_w: Quantity | None
    cpu_utilization: float | None
    segments_ms: tuple[float, ...]
    unknown: float


@dataclass(frozen=True, slots=True)
class Cache:
    """One simulated level: its size, and what a miss in it costs where the next level has the line.

    Attributes:
        next_latency_ns: From a miss to the line in the next level; None for the last, which has none.
        next_stream_ns: Of one line after another, when a prefetcher sees them coming.
        next_is_shared: All cores draw such lines from one next level, which limits them together.
    """

    size_bytes: int
    ways: int
    next_latency_ns: float | None
    next_stream_ns: float | None
    next_is_shared: bool | None


@dataclass(frozen=True)
class CycleModel:
    """A board's clock, caches and memory, and its calibration. Fields are the facts of its `[emulation]`."""

    clock_ghz: float
    cores: int
    caches: tuple[Cache, ...]
    dram_latency_ns: float
    dram_core_gbs: float
    dram_gbs: float
    compute_factor: float
    memory_factor: float
    serial_fraction: float
    log_sigma: float
    pairwise_error: float
    price_list: PriceList
    power: energy.Power | None

    @classmethod
    def of(cls, profile: DeviceProfile, price_file: Path | None = None) -> CycleModel:
        """Read the model of a device.

        Raises:
            ConfigError: The profile lacks a fact: this device cannot be emulated.
        """
        facts = {name: profile.get("emulation", name) for name in NEEDED}
        missing = [f"emulation.{name}" for name, value in facts.items() if value is None]
        missing += [f"cpu.{name}" for name in ("clock_ghz", "cores") if profile.get("cpu", name) is None]
        if missing:
            raise _lacking(profile, missing)
        core = facts.pop("llvm_core")
        return cls(
            clock_ghz=profile.get("cpu", "clock_ghz"),
            cores=profile.get("cpu", "cores"),
            caches=_caches(profile),
            price_list=PriceList(core, price_file),
            power=energy.Power.of(profile),
            **facts,
        )

    def price(self, counts: Counts, threads: int) -> Estimate:
        """What a run that was counted on one thread takes on `threads` of the board's cores.

        Raises:
            BoardError: LLVM's tools are missing.
        """
        threads = max(1, min(threads, self.cores))
        priced = self.price_list.price(counts.blocks, counts.total.ran)
        segments = tuple(self._segment_ms(counts, segment, priced, threads) for segment in counts.segments)
        cycles = priced.cycles(counts.blocks, counts.total.ran)
        value = sum(segments)
        spread = math.exp(Z_95 * self.log_sigma)
        latency = Quantity(value, "ms", value / spread, value * spread, "emulated", "cycles")
        # Who waits for memory is busy, as an operating system sees it.
        waiting_ms = self.stall_ms(counts.total, threads) + self.dram_ms(counts.total, threads)
        busy_ms = self.compute_ms(cycles, 1) + threads * waiting_ms
        utilization = min(1.0, busy_ms / (value * self.cores)) if value else None
        spent = cycles * self.compute_factor
        energy_mj = self.power.energy_mj(latency, spent, utilization) if self.power and value else None
        return Estimate(
            latency,
            cycles,
            energy_mj,
            self.power.mean_w(energy_mj, latency) if self.power and energy_mj else None,
            utilization,
            segments,
            priced.unknown,
        )

    def latency_ms(self, cycles: float, traffic: Segment, threads: int) -> float:
        """Time of `cycles` and the cache misses that came with them."""
        return (
            self.compute_ms(cycles, threads)
            + self.stall_ms(traffic, threads)
            + self.dram_ms(traffic, threads)
        )

    def compute_ms(self, cycles: float, threads: int) -> float:
        speed_up = threads / (1 + self.serial_fraction * (threads - 1))
        return cycles * self.compute_factor / (self.clock_ghz * 1e6 * speed_up)

    def stall_ms(self, traffic: Segment, threads: int) -> float:
        """Waiting for the next level: each core for its own misses, all for what they share."""
        alone_ns = together_ns = 0.0
        for level, (cache, here) in enumerate(zip(self.caches, traffic.caches, strict=True)):
            if cache.next_latency_ns is None or cache.next_stream_ns is None:
                # A prefetcher brings what it sees coming; the rest is waited for.
                alone_ns += (here.misses - here.streamed) * self.dram_latency_ns
                continue
            # Lines that the next level wrote back count as its misses, too.
            found = max(0, here.misses - traffic.caches[level + 1].misses)
            streamed = found * here.streamed / here.misses if here.misses else 0.0
            alone_ns += (found - streamed) * cache.next_latency_ns
            if cache.next_is_shared:
                together_ns += streamed * cache.next_stream_ns
            else:
                alone_ns += streamed * cache.next_stream_ns
        return (alone_ns / threads + together_ns) * self.memory_factor / 1e6

    def dram_ms(self, traffic: Segment, threads: int) -> float:
        """Moving lines to and from memory, at the bandwidth that `threads` cores reach together."""
        last = traffic.caches[-1]
        moved = (last.misses + last.written_back) * LINE_BYTES
        return moved * self.memory_factor / min(self.dram_gbs, threads * self.dram_core_gbs) / 1e6

    def _segment_ms(self, counts: Counts, segment: Segment, priced: Priced, threads: int) -> float:
        return self.latency_ms(priced.cycles(counts.blocks, segment.ran), segment, threads)


def cache_arguments(profile: DeviceProfile) -> tuple[tuple[int, int], ...]:
    """Size in bytes and ways of each cache level to simulate, from the first outwards.

    Raises:
        ConfigError: The profile does not know its first cache.
    """
    return tuple((cache.size_bytes, cache.ways) for cache in _caches(profile))


def _caches(profile: DeviceProfile) -> tuple[Cache, ...]:
    names = {"l1": "l1d_bytes", "l2": "l2_bytes", "l3": "l3_bytes"}
    present = [level for level in LEVELS if profile.get("cache", names[level]) is not None]
    if not present or present[0] != "l1":
        raise _lacking(profile, ["cache.l1d_bytes"])
    caches, missing = [], []
    for level, beyond in zip(present, [*present[1:], None], strict=True):
        ways = profile.get("emulation", f"{level}_ways")
        costs = [profile.get("emulation", f"{beyond}_{name}") if beyond else None for name in NEXT_FACTS]
        missing += [f"emulation.{level}_ways"] if ways is None else []
        missing += [
            f"emulation.{beyond}_{name}"
            for name, cost in zip(NEXT_FACTS, costs, strict=True)
            if beyond and cost is None
        ]
        caches.append(Cache(profile.get("cache", names[level]), ways, *costs))
    if missing:
        raise _lacking(profile, missing)
    return tuple(caches)


def _lacking(profile: DeviceProfile, missing: list[str]) -> ConfigError:
    return ConfigError(
        f"{profile.name} cannot be emulated: its profile does not know {', '.join(missing)}",
        hint="measure on a board: --board local, or --board ssh://user@host; or predict: --board predicted",
    )
