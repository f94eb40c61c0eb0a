"""Energy of an emulated run: modelled from its time and its cycles, never metered.

Cycles cost energy, and time costs the board's idle power. Where a profile does not know what a cycle costs,
power is idle + k * utilization of the profile's fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import Quantity

LEAST_ERROR = 0.25
"""Of power figures, relative, as half of a 95 % interval: a supply, what is plugged in and the warmth of the
chip change a board's power by as much."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a board draws.

    Attributes:
        idle_w: Doing nothing.
        k_w: More at full utilization of all cores; None where it is not known.
        energy_per_cycle_nj: Of one busy core cycle, above idle; None where it is not known.
        error: How far these may be off, relative, as half of a 95 % interval: at least `LEAST_ERROR`, and no
            less than two sources of the same board differ in what it draws when it is busy.
    """

    idle_w: float
    k_w: float | None
    energy_per_cycle_nj: float | None
    error: float = LEAST_ERROR

    @classmethod
    def of(cls, profile: DeviceProfile) -> Power | None:
        """Read a profile's power figures; None where it lacks them."""
        per_cycle = profile.get("emulation", "energy_per_cycle_nj")
        if per_cycle is not None and (idle := profile.get("power", "idle_w")) is not None:
            return cls(idle, None, per_cycle, _error(profile))
        idle, k = (profile.get("power", name) for name in ("model_idle_w", "model_k_w"))
        return cls(idle, k, None, _error(profile)) if idle is not None and k is not None else None

    def energy_mj(self, latency: Quantity, cycles: float, utilization: float | None) -> Quantity:
        """Of one inference, idle power included; provenance of the latency, source `model`.

        The interval holds the error of the time and that of the power figures. They have nothing to do with
        each other, so their logs are added as squares. Whatever makes the time wrong makes the energy wrong:
        waiting costs idle power for as long, and cycles that were priced too high are as many too many.
        """
        if self.energy_per_cycle_nj is not None:
            busy_mj = cycles * self.energy_per_cycle_nj * 1e-6
        else:
            busy_mj = (self.k_w or 0.0) * (utilization or 0.0) * latency.value
        value = self.idle_w * latency.value + busy_mj
        spread = math.exp(math.hypot(math.log(latency.high / latency.value), math.log1p(self.error)))
        return Quantity(value, "mJ", value / spread, value * spread, latency.provenance, "model")

    def mean_w(self, energy_mj: Quantity, latency: Quantity) -> Quantity:
        """Energy / time; the error of the time cancels, that of the power figures stays."""
        value = energy_mj.value / latency.value
        spread = 1 + self.error
        return Quantity(value, "W", value / spread, value * spread, energy_mj.provenance, "model")


def _error(profile: DeviceProfile) -> float:
    names = ("stress_w", "model_idle_w", "model_k_w")
    busy_w, idle_w, k_w = (profile.get("power", name) for name in names)
    if busy_w is None or idle_w is None or k_w is None:
        return LEAST_ERROR
    return max(LEAST_ERROR, math.expm1(abs(math.log((idle_w + k_w) / busy_w))))
