"""Does a board's meter make sense? Idle, all cores busy, and what the profile says of both."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from edgeopt.boards.address import Address
from edgeopt.boards.metering import sampling
from edgeopt.boards.metering.edges import LEAST_STEP, Pattern
from edgeopt.boards.metering.energy import SETTLE_S
from edgeopt.boards.metering.link import DEADLINE_S, Link, start, talk
from edgeopt.boards.meters import EnergySource, Sample
from edgeopt.core import plugins
from edgeopt.core.errors import BoardError, CommandError
from edgeopt.core.profile import DeviceProfile

PATTERN = (5.0, 5.0, 4.0)
"""Seconds of idle, of all cores busy, and of idle again."""
MOST_OFF = 2.0
"""A meter that says more than this times the profile's power, or less than one part of it, is wrong."""
TENFOLD = (6.0, 16.0)
"""Off by about ten: between these."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a meter said of a board that was idle and then busy.

    Attributes:
        rate_hz: Samples per second.
        reader_cpu: Share of a core that reading took; None where nobody counted.
        profile_idle_w: What the profile says; None where it does not know.
    """

    source: EnergySource
    error_share: float
    samples: int
    rate_hz: float
    reader_cpu: float | None
    idle_w: float
    stress_w: float
    profile_idle_w: float | None
    profile_stress_w: float | None


def look(name: str, board: Address, link: Link, profile: DeviceProfile) -> Seen:
    """Let a board be idle and busy, and read its meter meanwhile. The board needs no runtime for it.

    Raises:
        ConnectError: The board or the meter's machine cannot be reached.
        BoardError: The meter cannot be read, or gives too few samples.
        ConfigError: Its recording does not say what it holds.
    """
    module = plugins.load("meters", link.settings.kind)
    with ExitStack() as stack:
        dialogue = stack.enter_context(talk(board, name))
        other = (
            stack.enter_context(talk(link.host, f"the meter's host {link.host}")) if link.host else dialogue
        )
        try:
            start(other, link.settings)
        except CommandError as error:
            raise _unreadable(name, error.message) from error
        marks = Pattern.of(dialogue.ask("exercise", DEADLINE_S, pattern=PATTERN))
        told = other.ask("sampled", DEADLINE_S)
    if "error" in told:
        raise _unreadable(name, told["error"])
    recorded = sampling.recording(told)
    samples = module.parse(recorded, link.settings)
    seconds = sum(PATTERN)
    if len(samples) < 2 * seconds:
        raise BoardError(
            f"the meter of {name} gave {len(samples)} samples in {seconds:g} s",
            hint="let its program or its chip sample faster; an energy needs 100 in 10 s",
        )
    idle_w, stress_w = _powers(samples, marks, link.host is None)
    return Seen(
        source=module.SOURCE,
        error_share=module.ERROR_SHARE,
        samples=len(samples),
        rate_hz=(len(samples) - 1) / (samples[-1].t_s - samples[0].t_s),
        reader_cpu=None if recorded.cpu_s is None else recorded.cpu_s / seconds,
        idle_w=idle_w,
        stress_w=stress_w,
        profile_idle_w=profile.get("power", "idle_w"),
        profile_stress_w=profile.get("power", "stress_w"),
    )  # fmt: skip


def judge(name: str, seen: Seen, link: Link) -> None:
    """Refuse a meter that cannot be right.

    Raises:
        BoardError: It does not follow the board, or is more than twice off; says what is likely.
    """
    shows = _shows(name, link)
    if seen.stress_w - seen.idle_w < LEAST_STEP * abs(seen.idle_w):
        raise BoardError(
            f"{shows} {seen.idle_w:.3g} W idle, {seen.stress_w:.3g} W with all cores busy",
            hint="other work keeps its cores busy: edgeopt boards doctor shows how much"
            if link.source == "model"
            else "it does not follow this board: another board's sensor or channel, a recording that stands "
            "still, or a load so steady that the board's does not show",
        )
    for what, shown, known in (
        ("idle", seen.idle_w, seen.profile_idle_w),
        ("with all cores busy", seen.stress_w, seen.profile_stress_w),
    ):
        if known is None or 1 / MOST_OFF <= shown / known <= MOST_OFF:
            continue
        raise BoardError(
            f"{shows} {shown:.3g} W {what}, its profile says {known:.3g} W: more than {MOST_OFF:g} times off",
            hint=_likely(_ratio_busy(seen) or shown / known, link),
        )


def _shows(name: str, link: Link) -> str:
    """Where there is no meter, nobody is told of one."""
    return f"the model of {name}'s power says" if link.source == "model" else f"the meter of {name} shows"


def _unreadable(name: str, why: str) -> BoardError:
    return BoardError(f"the meter of {name} cannot be read: {why}", hint="see docs/boards/meters.md")


def _powers(samples: Sequence[Sample], marks: Pattern, same_clock: bool) -> tuple[float, float]:
    """Median power when idle and when busy; where the clocks differ, by rank: busy is what is high."""
    at, power = np.array([s.t_s for s in samples]), np.array([s.power_w for s in samples])
    if same_clock:
        ((begin, end),) = marks.loads
        idle = power[(at < begin) | (at > end + 2 * SETTLE_S)]
        busy = power[(at > begin + SETTLE_S) & (at < end)]
    else:
        low, high = np.quantile(power, (0.4, 0.8))
        idle, busy = power[power <= low], power[power >= high]
    if not len(idle) or not len(busy):
        raise BoardError(
            "the meter gave no sample while the board was idle, or none while it was busy",
            hint="it lags by seconds, or its program writes rarely: let it sample faster",
        )
    return float(np.median(idle)), float(np.median(busy))


def _ratio_busy(seen: Seen) -> float | None:
    """What hangs on a board changes its idle power more than this."""
    return seen.stress_w / seen.profile_stress_w if seen.profile_stress_w else None


def _likely(ratio: float, link: Link) -> str:
    """What is wrong with a meter, or a model, that is off by so much."""
    if link.source == "model":
        return "power.model_idle_w and power.model_k_w of the profile do not fit its idle_w and stress_w"
    shunt_ohm, factor = link.settings.shunt_ohm, max(ratio, 1 / ratio)
    if link.settings.kind == "hwmon" and TENFOLD[0] < factor < TENFOLD[1]:
        said_ohm = shunt_ohm if isinstance(shunt_ohm, float) else None
        guess = f": try shunt_ohm = {said_ohm * (10 if ratio > 1 else 0.1):g}" if said_ohm else ""
        return (
            f"about ten times too {'much' if ratio > 1 else 'little'} is a shunt of "
            f"{'100 mΩ taken for 10' if ratio > 1 else '10 mΩ taken for 100'}"
            f"{guess} (R100 on the resistor is 0.1, R010 is 0.01)"
        )
    if link.settings.kind == "hwmon" and link.settings.channel is not None and ratio < 1:
        return "a channel that is only a part of the supply? a Jetson's total is VDD_IN or POM_5V_IN"
    if ratio < 1:
        return "does all of the board's current go through the meter? GPIO pins, PoE and USB can feed it too"
    return "does anything else go through the meter, or is the device another one than its profile?"
