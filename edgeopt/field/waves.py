"""Who gets a release when: a few first, then larger and larger parts of the fleet, and how many may fail."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgeopt.core.errors import ConfigError
from edgeopt.field.outcome import Outcome

USUAL_WAVES = "10%,50%,100%"
USUAL_CANARIES = 1
USUAL_FAILURE_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Wave:
    """Devices that are updated together, several at once.

    Attributes:
        number: From 1.
        is_canary: The first of several waves: not one of it may fail.
    """

    number: int
    names: tuple[str, ...]
    is_canary: bool = False


def plan(names: Sequence[str], canaries: int, waves: str) -> list[Wave]:
    """Cut a fleet into waves, in the order that it is given in; the last one takes all that are left.

    Args:
        names: Of the devices, each once.
        canaries: How many make up the first wave; 0: no such wave.
        waves: How much of the fleet has been reached at the end of each further wave, as `10%,50%,100%` or in
            numbers of devices, `5,20`. A wave without new devices is left out.

    Raises:
        ConfigError: Not a growing list of shares or numbers.
    """
    parts = [_end(part, len(names), waves) for part in waves.split(",")]
    ends = [canaries, *parts, len(names)]
    if any(later < earlier for earlier, later in pairwise(parts)):
        raise ConfigError(f"--waves {waves!r} does not grow", hint=f"--waves {USUAL_WAVES}")
    cut: list[Wave] = []
    done = 0
    for number, end in enumerate(ends):
        if (end := min(end, len(names))) > done:
            cut.append(Wave(len(cut) + 1, tuple(names[done:end]), is_canary=number == 0))
            done = end
    if len(cut) == 1:  # nobody comes after it who could be spared
        return [Wave(1, tuple(names))]
    return cut


def _end(part: str, count: int, waves: str) -> int:
    text = part.strip()
    try:
        if not text.endswith("%"):
            return int(text) if int(text) > 0 else _refuse(waves)
        share = float(text[:-1])
    except ValueError:
        return _refuse(waves)
    return math.ceil(count * share / 100) if 0 < share <= 100 else _refuse(waves)


def _refuse(waves: str) -> int:
    raise ConfigError(
        f"--waves {waves!r} are no waves", hint=f"shares or numbers of devices: {USUAL_WAVES}, or 5,20,100"
    )


def parse_rate(text: str, flag: str = "--max-failures") -> float:
    """A share of devices, as `10%` or `0.1`.

    Raises:
        ConfigError: Neither, or not from 0 to 1.
    """
    clean = text.strip()
    try:
        rate = float(clean.removesuffix("%")) / (100 if clean.endswith("%") else 1)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1:
        raise ConfigError(f"{flag} {text!r} is no share of devices", hint=f"{flag} 10%")
    return rate


def may_fail(wave: Wave, answering: int, rate: float) -> int:
    """How many devices of a wave may fail, of those that answer.

    Of canaries none: that is what they are for. Of any other wave the share, but always one, for one device
    that is broken in itself is not a rate.
    """
    if wave.is_canary or rate == 0:
        return 0
    return max(1, math.floor(rate * answering))


def verdict(wave: Wave, outcomes: Iterable[Outcome], rate: float) -> str | None:
    """Why nothing may follow this wave, nor the rest of it; None: it goes on.

    Whoever has not been reached is not held against a release, nor counts for it. Devices that are still to
    come are counted as good: what is said is final.
    """
    found = [one for one in outcomes if one.name in wave.names]
    failed = [one for one in found if one.state == "failed"]
    answering = len(wave.names) - sum(not one.has_answered for one in found)
    allowed = may_fail(wave, answering, rate)
    if len(failed) > allowed:
        what = "canaries" if wave.is_canary else f"wave {wave.number}"
        return (
            f"{len(failed)} of {answering} devices of {what} failed, {allowed} may: {failed[0].name}: "
            f"{failed[0].reason}"
        )
    if len(found) == len(wave.names) and not answering:
        return f"none of the {len(wave.names)} devices of wave {wave.number} was reached: {found[0].reason}"
    return None
