"""Energy of an emulated run: modelled from its time and its cycles, never metered.

Cycles cost energy, and time costs the board's idle power. Where a profile does not know what a cycle costs,
power is idle + k * utilization of the profile's fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import Quantity

RELATIVE_ERROR = 0.25
"""Of a modelled energy, on top of the error of the time that it is made from."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a board draws.

    Attributes:
        idle_w: Doing nothing.
        k_w: More at full utilization of all cores; None where it is not known.
        energy_per_cycle_nj: Of one busy core cycle, above idle; None where it is not known.
    """

    idle_w: float
    k_w: float | None
    energy_per_cycle_nj: float | None

    @classmethod
    def of(cls, profile: DeviceProfile) -> Power | None:
        """Read a profile's power figures; None where it lacks them."""
        per_cycle = profile.get("emulation", "energy_per_cycle_nj")
        if per_cycle is not None and (idle := profile.get("power", "idle_w")) is not None:
            return cls(idle, None, per_cycle)
        idle, k = (profile.get("power", name) for name in ("model_idle_w", "model_k_w"))
        return cls(idle, k, None) if idle is not None and k is not None else None

    def energy_mj(self, latency: Quantity, cycles: float, utilization: float | None) -> Quantity:
        """Of one inference, idle power included; provenance of the latency, source `model`."""
        if self.energy_per_cycle_nj is not None:
            busy_mj = cycles * self.energy_per_cycle_nj * 1e-6
        else:
            busy_mj = (self.k_w or 0.0) * (utilization or 0.0) * latency.value
        value = self.idle_w * latency.value + busy_mj
        low = self.idle_w * latency.low + busy_mj
        high = self.idle_w * latency.high + busy_mj
        return Quantity(
            value,
            "mJ",
            low * (1 - RELATIVE_ERROR),
            high * (1 + RELATIVE_ERROR),
            latency.provenance,
            "model",
        )


def mean_power_w(energy_mj: Quantity, latency: Quantity) -> Quantity:
    """Energy / time; the error of the time cancels, that of the power figures stays."""
    value = energy_mj.value / latency.value
    low, high = value * (1 - RELATIVE_ERROR), value * (1 + RELATIVE_ERROR)
    return Quantity(value, "W", low, high, energy_mj.provenance, "model")
