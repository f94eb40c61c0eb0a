"""Under which conditions a board is measured. Figures of different conditions are never compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from edgeopt.core.errors import ConfigError

Conditions = Literal["bench", "sustained", "app"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a board does besides, and in which state it is.

    Attributes:
        name: `bench`: cool, tuned and quiet. `sustained`: heat-soaked, governor as shipped; throttling is
            recorded, not refused. `app`: as in an application.
        rate_hz: Inferences that an application asks for per second; None: as many as can be. A request that
            finds the model busy waits, and its wait counts.
        load: Share of every core that other work takes meanwhile, 0..1.
        cpus: Cores that the model is pinned to; empty: all.

    Raises:
        ConfigError: A value out of range, or a rate or load outside of `app`.
    """

    name: Conditions = "bench"
    rate_hz: float | None = None
    load: float = 0.0
    cpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.rate_hz is not None and not 0 < self.rate_hz <= 1e6:
            raise ConfigError(f"--rate {self.rate_hz:g} is not a number of inferences per second")
        if not 0 <= self.load < 1:
            raise ConfigError(f"--load {self.load:g} is no share of the cores' time", hint="say 30% or 0.3")
        if len(set(self.cpus)) != len(self.cpus) or any(cpu < 0 for cpu in self.cpus):
            raise ConfigError(f"--cpus {_cores(self.cpus)} names no set of cores")
        simulates = self.rate_hz is not None or self.load > 0
        if simulates and self.name != "app":
            raise ConfigError(
                f"--rate and --load are an application's: they do not go with --conditions {self.name}",
                hint="--conditions app",
            )
        if self.name == "app" and not simulates and not self.cpus:
            raise ConfigError(
                "--conditions app does not say what the application does", hint="--rate, --load or --cpus"
            )

    @property
    def is_default(self) -> bool:
        return self == Setting()

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | str) -> Self:
        """The inverse of `dataclasses.asdict`; a name alone is what older studies hold."""
        if isinstance(fields, str):
            return cls(fields)  # type: ignore[arg-type] # it was checked when it was written
        return cls(**(dict(fields) | {"cpus": tuple(fields["cpus"])}))

    def __str__(self) -> str:
        parts = [f"{self.rate_hz:g}/s"] if self.rate_hz else []
        parts += [f"load {self.load:.0%}"] if self.load else []
        parts += [f"cores {_cores(self.cpus)}"] if self.cpus else []
        return f"{self.name} ({', '.join(parts)})" if parts else self.name


def parse_cpus(text: str) -> tuple[int, ...]:
    """Cores of `0-3`, `0,2` or `4-5,7`, as `taskset -c` takes them.

    Raises:
        ConfigError: Another form.
    """
    cores: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ConfigError(
                f"--cpus {text!r} is not a list of cores",
                hint="write 0-3 or 0,2, or leave it out",
            )
        cores += range(int(first), int(last or first) + 1)
    return tuple(cores)


def _cores(cpus: tuple[int, ...]) -> str:
    return ",".join(map(str, cpus))
