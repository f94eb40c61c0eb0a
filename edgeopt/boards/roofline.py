"""Predicts how long a graph takes on a device, from the device's profile alone.

A node takes its arithmetic at the device's effective rate, plus its memory traffic at the device's
effective bandwidth, plus a fixed cost: an additive roofline. What fits into the last cache costs a
fraction. The terms are added, not maximised, because that fits the published latencies better (see
`docs/adr/0006-additive-roofline.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import Quantity
from edgeopt.core.workload import Compute, NodeCost

COPY_TRAFFIC = 2
"""A copied byte is read and written: memory moves twice what a memcpy benchmark reports."""

CACHED_COST = 0.25
"""What a byte costs that is found in the last cache, relative to one from memory.

An estimate: the published networks are too large to tell. Without it, small models would be charged for
memory traffic that never happens.
"""

Z_95 = 1.96
"""Half-width of a 95 % interval in standard deviations."""


@dataclass(frozen=True, slots=True)
class Roofline:
    """A device's effective rates. Fields are the facts of the same name in its profile."""

    cores: int
    clock_ghz: float
    fp32_flops_per_cycle: float
    memcpy_gbs: float
    cache_bytes: int
    efficiency_fp32: float
    efficiency_int8: float
    serial_fraction: float
    traffic_factor: float
    node_overhead_us: float
    log_sigma_fp32: float
    log_sigma_int8: float
    int8_ops_per_cycle: float | None = None
    float16_arithmetic: bool = False

    @classmethod
    def of(cls, profile: DeviceProfile) -> Roofline:
        """Read the rates of a device.

        Raises:
            ConfigError: The profile lacks one: nothing can be predicted for this device.
        """
        wanted = {
            "cpu": ("cores", "clock_ghz", "fp32_flops_per_cycle"),
            "memory": ("memcpy_gbs",),
            "model": (
                "efficiency_fp32", "efficiency_int8", "serial_fraction", "traffic_factor",
                "node_overhead_us", "log_sigma_fp32", "log_sigma_int8",
            ),
        }  # fmt: skip
        missing = [f"{s}.{n}" for s, names in wanted.items() for n in names if profile.get(s, n) is None]
        if missing:
            raise ConfigError(
                f"{profile.name} cannot be predicted: its profile does not know {', '.join(missing)}",
                hint="measure on a board: --board local, or --board ssh://user@host",
            )
        return cls(
            **{name: profile.get(section, name) for section, names in wanted.items() for name in names},
            cache_bytes=last_cache_bytes(profile),
            int8_ops_per_cycle=profile.get("cpu", "int8_ops_per_cycle"),
            float16_arithmetic="asimdhp" in (profile.get("cpu", "features") or ()),
        )

    def peak_gflops(self, compute: Compute, threads: int) -> float:
        """The ceiling of `threads` cores in G operations/s, by the type of the arithmetic."""
        per_cycle = self.fp32_flops_per_cycle
        if compute == "int8" and self.int8_ops_per_cycle:
            per_cycle = self.int8_ops_per_cycle
        elif compute == "float16" and self.float16_arithmetic:
            per_cycle *= 2
        return min(threads, self.cores) * self.clock_ghz * per_cycle

    def time_ms(self, flops: int, compute: Compute, traffic_bytes: float, nodes: int, threads: int) -> float:
        """Time in ms of `nodes` nodes together; `threads` above the number of cores bring nothing."""
        threads = max(1, min(threads, self.cores))
        efficiency = self.efficiency_int8 if compute == "int8" else self.efficiency_fp32
        speed_up = threads / (1 + self.serial_fraction * (threads - 1))
        compute_ms = flops / (self.peak_gflops(compute, 1) * efficiency * speed_up) / 1e6
        bytes_per_ms = COPY_TRAFFIC * self.memcpy_gbs * 1e6 / self.traffic_factor
        return compute_ms + traffic_bytes / bytes_per_ms + nodes * self.node_overhead_us / 1e3

    def traffic_bytes(self, cost: NodeCost, weights_cached: bool) -> float:
        """What a node's traffic is worth in bytes from memory: those found in the cache cost a fraction.

        Activations that fit into the last cache were left there by the node before.
        """
        activations = cost.read_bytes - cost.weight_bytes + cost.write_bytes
        missing = max(0, activations - self.cache_bytes)
        weights = cost.weight_bytes * (CACHED_COST if weights_cached else 1.0)
        return weights + missing + CACHED_COST * (activations - missing)

    def weights_cached(self, costs: Iterable[NodeCost]) -> bool:
        """Whether all weights survive from one inference to the next, with room left for activations."""
        return sum(cost.weight_bytes for cost in costs) <= self.cache_bytes / 2

    def node_times_ms(self, costs: Sequence[NodeCost], threads: int) -> list[float]:
        """Time of each node of a graph in ms."""
        cached = self.weights_cached(costs)
        return [
            self.time_ms(cost.flops, cost.compute, self.traffic_bytes(cost, cached), 1, threads)
            for cost in costs
        ]

    def latency(self, costs: Sequence[NodeCost], threads: int) -> Quantity:
        """Time of a whole graph in ms, with the 95 % interval of the fit.

        The intervals of the two kinds of arithmetic are weighted by the time that each takes.
        """
        spent = {"int8": 0.0, "float": 0.0}
        for cost, ms in zip(costs, self.node_times_ms(costs, threads), strict=True):
            spent["int8" if cost.compute == "int8" else "float"] += ms
        value = sum(spent.values())
        share = spent["int8"] / value if value else 0.0
        spread = math.exp(Z_95 * (share * self.log_sigma_int8 + (1 - share) * self.log_sigma_fp32))
        return Quantity(value, "ms", value / spread, value * spread, "predicted", "roofline")


def last_cache_bytes(profile: DeviceProfile) -> int:
    """Size of the last cache that the profile knows; 0 where it knows none."""
    return int(profile.get("cache", "l3_bytes") or profile.get("cache", "l2_bytes") or 0)
