"""Power meters, one file each: the stem of a module is the `kind` of `[board.NAME.meter]`.

A module is a `Meter` (the Protocol below): it tells how to read the meter on the machine where it hangs, and
makes watts of what was read. When to sample, and whose energy it is, belongs to `edgeopt.boards.metering`.
Every module passes `edgeopt.testing.meters`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

EnergySource = Literal["meter", "pmic", "rapl", "model"]
"""What an energy comes from: a meter in the supply, the board's own regulator, the processor's counters, or
a model of the board that knows nothing but how busy it is."""

Reader = Callable[[dict[str, Any]], tuple[str, Callable[[], str]]]


@dataclass(frozen=True, slots=True)
class Settings:
    """`[board.NAME.meter]` of boards.toml; None is what was not said.

    Attributes:
        kind: The meter's module.
        host: Where it hangs, if not on the board itself: an address, or the name of a board.
        address: Which sensor or file there; each meter says what it means.
        shunt_ohm: Of the shunt that is soldered in; `kernel` if what the kernel assumes is right.
        channel: Of a sensor with several: its number or its label.
        volts: Supply voltage, for recordings of a current alone.
        idle_w: Of the board's profile, for a model: P = idle_w + k_w * utilization.
        k_w: See `idle_w`.
        root: Where `/sys`, `/proc` and `/dev` are.
    """

    kind: str
    host: str | None = None
    address: str | None = None
    shunt_ohm: float | Literal["kernel"] | None = None
    channel: str | None = None
    volts: float | None = None
    idle_w: float | None = None
    k_w: float | None = None
    root: str = "/"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a meter brought.

    Attributes:
        t_s: When, on CLOCK_MONOTONIC of the meter's host.
        text: As it was read.
    """

    t_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """Readings in order.

    Attributes:
        header: What does not change while it is read: names, units, the shunt.
        cpu_s: Time that the reading itself took of a core; None where nobody counted.
    """

    header: str
    readings: tuple[Reading, ...]
    cpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Power at a moment, on the clock of the readings."""

    t_s: float
    power_w: float


@dataclass(frozen=True, slots=True)
class Example:
    """A recording and the samples it must become.

    Attributes:
        origin: Where its format is from: `recorded on …`, or `written after …` a document.
        lost: How many readings bring no sample, because something is missing in them.
    """

    name: str
    origin: str
    settings: Settings
    recording: Recording
    samples: tuple[Sample, ...]
    lost: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    """A file tree from which `reader` reads the recording's header and one of its readings."""


class Meter(Protocol):
    """What a module of this package is.

    Attributes:
        SOURCE: What an energy measured with it says of itself.
        ERROR_SHARE: Of a reading that may be wrong, with 95 % confidence.
        INTERVAL_S: From one look to the next.
        KEYS: The settings that it understands beyond `kind` and `host`.
        EXAMPLES: Recordings, the hard ones too.
    """

    SOURCE: EnergySource
    ERROR_SHARE: float
    INTERVAL_S: float
    KEYS: frozenset[str]
    EXAMPLES: tuple[Example, ...]

    @staticmethod
    def check(settings: Settings) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: What is missing or contradicts itself, and where to find it.
        """
        ...

    @staticmethod
    def reader(settings: dict[str, Any]) -> tuple[str, Callable[[], str]]:
        """Find the meter; returns a recording's header, and what takes a reading.

        Its source is sent to the meter's host and run there: Python 3.9 without third-party packages, with
        every import inside. Whatever it raises ends up in the user's message.
        """
        ...

    @staticmethod
    def parse(recording: Recording, settings: Settings) -> list[Sample]:
        """Watts of readings; those that cannot be read whole bring no sample. Pure."""
        ...
