"""A figure with its unit, its interval and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Provenance = Literal["measured", "emulated", "predicted"]
"""`measured` on a physical board (or this machine), `emulated` on a virtual board, `predicted` by a model."""

STRENGTH: dict[Provenance, int] = {"predicted": 0, "emulated": 1, "measured": 2}
"""How much a provenance can be trusted: `--require` refuses anything weaker."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with unit and interval. Two quantities of different provenance are never compared.

    Attributes:
        value: The figure, in `unit`.
        low: Lower end of the 95 % interval; equals `value` where none is known.
        high: Upper end of the 95 % interval.
        source: What produced it (`clock`, `meter`, `rapl`, `roofline`, ...).
    """

    value: float
    unit: str
    low: float
    high: float
    provenance: Provenance
    source: str

    @property
    def relative_error(self) -> float:
        """Half the interval's width as a fraction of the value."""
        return (self.high - self.low) / 2 / abs(self.value) if self.value else 0.0

    def __str__(self) -> str:
        if self.provenance == "measured":
            return f"{self.value:.3g} {self.unit}"
        return f"{self.value:.3g} {self.unit} ±{100 * self.relative_error:.0f} % {self.provenance}"
