"""Whether a board's answer can be trusted: the measuring protocol's rules, as a pure function.

Every rule gives one line with its figure and its threshold. What a board does not tell breaks no rule: the
rules that remain apply.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from edgeopt.core.conditions import Conditions
from edgeopt.core.profile import DeviceProfile

State = Mapping[str, Any]
"""How a board was at one moment: what the on-board runner's `conditions` tells."""

LIVE_BITS, STICKY_BITS = 0xF, 0xF0000
"""Of `get_throttled`: what holds now, and what has held since boot."""

BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
"""Of `get_throttled`, from the lowest; the sticky ones are in the same order.

Source: Raspberry Pi documentation, vcgencmd.
"""

KERNEL_OVERSTATES = 0.9
"""A kernel may say somewhat more than a core runs at: the RK3588's OPP table names clocks that the chip's own
voltage regulation does not always reach. One that runs at less than this share is held back."""

PART_SAMPLES, PART_MS, PARTS = 11, 250.0, (3, 10)
"""A window is looked at in three to ten parts, of eleven latencies and a quarter of a second or more where it
is that long: finer ones leave less of a window to be slow unseen, and make more of a hiccup. Where nobody
shared the core there are no hiccups to be spared, and eleven latencies are enough."""
LEAST_SAMPLES = 9
"""Fewer latencies than these do not tell a drift."""

TELLING_S = 0.5
"""The kernel counts CPU time in ticks of some ms: over less time they tell nothing of a few percent."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What makes a window invalid on a device; None: no limit.

    Attributes:
        max_drift: How much the medians of a window's parts may differ, relative to the lowest.
        max_process_cv: Coefficient of variation of the processes' medians.
        quiet_process_cv: The same where nobody shared the core, by the runner's probes; None: as elsewhere.
        quiet_drift: Most `lasting_slowdown` there; None: no limit.
        lasting: `quiet_drift`, once it is known that nobody shared the core; no fact of a profile.
        max_other_cpu: Share of all cores that other processes may use in any round.
        min_clock_ratio: Least clock, of what it should be.
        max_temperature_c: Highest temperature, before and after.
        max_swap_bytes: How much may be swapped out meanwhile.
        may_throttle: Whether throttling is part of what is measured.
        tries: How often to measure before the board counts as unfit.
        cooldown_s: Longest pause between tries.
    """

    max_drift: float | None = None
    max_process_cv: float | None = None
    quiet_process_cv: float | None = None
    quiet_drift: float | None = None
    lasting: float | None = None
    max_other_cpu: float | None = None
    min_clock_ratio: float | None = None
    max_temperature_c: float | None = None
    max_swap_bytes: int | None = None
    may_throttle: bool = False
    tries: int = 1
    cooldown_s: float = 0.0

    @classmethod
    def of(cls, profile: DeviceProfile) -> Thresholds:
        """Of a device; a profile that says nothing of swap allows none."""
        facts = {name: profile.get("measurement", name) for name in cls.__dataclass_fields__}
        known = {name: value for name, value in facts.items() if value is not None}
        return cls(**{"max_swap_bytes": 0, **known})

    def when_quiet(self) -> Thresholds:
        """For latencies of which the runner's probes say that nobody shared the core: see `boards.quiet`."""
        return replace(
            self,
            max_process_cv=self.quiet_process_cv or self.max_process_cv,
            lasting=self.quiet_drift,
        )

    def under(self, conditions: Conditions) -> Thresholds:
        """What is left of them where the board is not to be cool and quiet: see `core.conditions`.

        There it may be hot, throttle and vary: that is what is measured. `app` brings load of its own.
        """
        if conditions == "bench":
            return self
        return replace(
            self,
            max_drift=None,
            max_process_cv=None,
            quiet_process_cv=None,
            quiet_drift=None,
            lasting=None,
            max_other_cpu=None if conditions == "app" else self.max_other_cpu,
            min_clock_ratio=None,
            max_temperature_c=None,
            may_throttle=True,
        )


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the runner's loop spins on a board that nothing holds back.

    Attributes:
        kind: `adds`, whose speed is the clock in Hz, or `hashes`.
    """

    kind: str
    per_s: float

    @classmethod
    def calibrated(cls, state: State | None, thresholds: Thresholds, known: Speed | None) -> Speed | None:
        """The best speed seen while the board was cool and unthrottled: `known`, or that of `state`."""
        if not state or any(_of_state(state, None, thresholds)):
            return known
        spin = state["spin"]
        seen = cls(spin["kind"], spin["per_s"])
        return seen if known is None or known.kind != seen.kind or seen.per_s > known.per_s else known


def of_board(rounds: Sequence[State], expected: Speed | None, thresholds: Thresholds) -> list[str]:
    """What was wrong with the board, in words; empty if nothing.

    Args:
        rounds: How it was before the first round of processes and after each.
        expected: How fast it spins when cool; None where that is not known.
    """
    found = [reason for state in rounds for reason in _of_state(state, expected, thresholds)]
    found += [] if thresholds.may_throttle else _came_up(rounds)
    found += [reason for before, after in pairwise(rounds) for reason in _used(before, after, thresholds)]
    return _worst(found)


def of_windows(processes: Sequence[Sequence[float]], thresholds: Thresholds) -> list[str]:
    """What was wrong with the latencies of one artifact, in words; empty if nothing.

    Args:
        processes: Of each fresh process, in the order in which they were taken, in ms.
    """
    found = []
    limit = thresholds.max_drift
    # Of most processes: what hits a single one shows in how much their medians vary.
    drifts = [drift for one in processes if (drift := drift_of(one)) is not None]
    usual = statistics.median(drifts) if drifts else 0.0
    if limit is not None and usual > limit:
        found.append(f"its latency drifted by {usual:.1%} within a process, {limit:.1%} is allowed")
    limit = thresholds.lasting
    if limit is not None and not found and (slower := lasting_slowdown(processes)) > limit:
        found.append(
            f"its latency grew by {slower:.1%} and stayed there though nobody shared its core, "
            f"{limit:.1%} is allowed"
        )
    limit = thresholds.max_process_cv
    varies = variation(processes)
    if limit is not None and varies is not None and varies > limit:
        found.append(f"the medians of its processes vary by {varies:.1%}, {limit:.1%} is allowed")
    return found


def lasting_slowdown(processes: Sequence[Sequence[float]]) -> float:
    """By how much, from some moment on, every part of the windows takes longer than every part before it: 1
    for a board that throttles to half its clock and stays there. What passes by is none, however slow it was.

    Processes too short for parts whose medians a hiccup does not move are left out; 0 where too little is
    left.
    """
    least = PARTS[0] * PART_SAMPLES
    parts = [
        median for one in processes if len(one) >= least for median in _medians(one, len(one) // PART_SAMPLES)
    ]
    before = list(accumulate(parts, max))
    after = list(accumulate(reversed(parts), min))[::-1]
    steps = [late / early - 1 for early, late in zip(before, after[1:], strict=False) if early > 0]
    return max([0.0, *steps])


def drift_of(latencies_ms: Sequence[float]) -> float | None:
    """How much the medians of the parts of a window differ, relative to the lowest; None if too few."""
    n = len(latencies_ms)
    if n < LEAST_SAMPLES:
        return None
    medians = _medians(latencies_ms, min(n // PART_SAMPLES, int(sum(latencies_ms) / PART_MS)))
    return max(medians) / min(medians) - 1 if min(medians) > 0 else None


def _medians(latencies_ms: Sequence[float], parts: int) -> list[float]:
    """Of so many parts of a window, or of the nearest number within `PARTS`."""
    n, parts = len(latencies_ms), min(PARTS[1], max(PARTS[0], parts))
    edges = [n * at // parts for at in range(parts + 1)]
    return [statistics.median(latencies_ms[start:end]) for start, end in pairwise(edges)]


def variation(processes: Sequence[Sequence[float]]) -> float | None:
    """Coefficient of variation of the processes' medians; None for a single one."""
    medians = [statistics.median(one) for one in processes if one]
    return statistics.stdev(medians) / statistics.mean(medians) if len(medians) > 1 else None


def throttled(rounds: Sequence[State]) -> bool | None:
    """Whether a live bit was up, or a sticky one came up; None where the firmware did not say, and no other
    moment tells that it was."""
    bits = [state["throttled_bits"] for state in rounds]
    if any((one or 0) & LIVE_BITS for one in bits) or _came_up(rounds):
        return True
    return None if None in bits else False


def other_cpu(before: State, after: State) -> float | None:
    """Share of all cores that other processes used in between, 0..1; None where the kernel does not say."""
    if before["busy_s"] is None or after["busy_s"] is None:
        return None
    others_s = (after["busy_s"] - before["busy_s"]) - (after["own_s"] - before["own_s"])
    elapsed_s = float(after["at_s"] - before["at_s"])
    if elapsed_s < TELLING_S:
        return None
    return float(min(1.0, max(0.0, others_s / (elapsed_s * after["cores"]))))


_Found = tuple[str, float, str]
"""A rule, how badly it was broken, and the line that says so."""


def _worst(found: Iterable[_Found]) -> list[str]:
    """The worst of each rule, in the order in which rules were first broken."""
    worst: dict[str, _Found] = {}
    for one in found:
        if one[0] not in worst or one[1] > worst[one[0]][1]:
            worst[one[0]] = one
    return [line for _, _, line in worst.values()]


def _of_state(state: State, expected: Speed | None, thresholds: Thresholds) -> Iterable[_Found]:
    """What is wrong with a board at one moment."""
    live = (state["throttled_bits"] or 0) & LIVE_BITS
    if live and not thresholds.may_throttle:
        yield (
            "live",
            live,
            f"it is throttled: {_named(live)} (get_throttled says {state['throttled_bits']:#x})",
        )
    hot, limit = state["temperature_c"], thresholds.max_temperature_c
    if limit is not None and hot is not None and hot > limit:
        yield "temperature", hot, f"it is at {hot:.1f} °C, {limit:g} °C is the limit"
    least = thresholds.min_clock_ratio
    if least is None:
        return
    spin, kernel_hz, clock_hz = state["spin"], state["kernel_hz"], state["clock_hz"]
    if kernel_hz and clock_hz and (ratio := clock_hz / kernel_hz) < least:
        yield (
            "clock",
            1 / ratio,
            (
                f"its clock is {clock_hz / 1e6:.0f} MHz where the kernel says {kernel_hz / 1e6:.0f}: "
                f"{ratio:.2f} times, {least:g} is the least"
            ),
        )
    if spin["kind"] == "adds" and kernel_hz and (ratio := spin["per_s"] / kernel_hz) < KERNEL_OVERSTATES:
        yield (
            "kernel",
            1 / ratio,
            (
                f"it computes at {spin['per_s'] / 1e6:.0f} MHz where the kernel says {kernel_hz / 1e6:.0f}: "
                f"{ratio:.2f} times, {KERNEL_OVERSTATES:g} is the least"
            ),
        )
    if expected and spin["kind"] == expected.kind and (ratio := spin["per_s"] / expected.per_s) < least:
        yield (
            "speed",
            1 / ratio,
            (f"it computes at {ratio:.2f} times its speed when cool, {least:g} is the least"),
        )


def _came_up(rounds: Sequence[State]) -> list[_Found]:
    bits = [state["throttled_bits"] for state in rounds if state["throttled_bits"] is not None]
    new = 0
    for before, after in pairwise(bits):
        new |= after & ~before & STICKY_BITS
    return [("sticky", new, f"it was throttled meanwhile: {_named(new >> 16)}")] if new else []


def _used(before: State, after: State, thresholds: Thresholds) -> Iterable[_Found]:
    """What happened on the board between two moments that should not have."""
    share, limit = other_cpu(before, after), thresholds.max_other_cpu
    if limit is not None and share is not None and share > limit:
        yield "other", share, f"other processes used {share:.1%} of its cores, {limit:.1%} is allowed"
    most = thresholds.max_swap_bytes
    if most is None or before["swap_bytes"] is None or after["swap_bytes"] is None:
        return
    grown = after["swap_bytes"] - before["swap_bytes"]
    if grown > most:
        yield "swap", grown, f"{grown / 2**20:.1f} MiB were swapped out, {most / 2**20:g} are allowed"


def _named(bits: int) -> str:
    return ", ".join(name for at, name in enumerate(BITS) if bits >> at & 1)
