"""Which counted segment belongs to which node: the clock was read where ONNX Runtime's profiler reads it.

With its profiler on, the runtime reads the clock as each node begins and ends, and the counting plugin begins
a segment at each read. So the events of the profile, put in order, say what every segment was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.core.errors import MeasurementInvalid

BEFORE = 3
"""Reads from the start of a run to that of its first node: of the run, of its bookkeeping, of the executor.

Source: counted with onnxruntime 1.28 on aarch64; `node_times` refuses where it does not hold.
"""

LEAST_AFTER, MOST_AFTER = 2, 8
"""Reads after the last node: the ends of the executor and of the run, and some more that vary by one."""

MOST_APART = 0.5
"""How far the shares of time, as priced and as the emulator took, may differ (total variation): a runtime's
nodes do not cost the emulator what they cost a core, but those of another node would be further off."""

SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Event:
    """What the runtime's profiler wrote: a node, or the executor of a (sub)graph.

    Attributes:
        category: `Node` or `Session`.
        begin_us: Since the session was made.
    """

    category: str
    name: str
    begin_us: float
    duration_us: float

    @property
    def end_us(self) -> float:
        return self.begin_us + self.duration_us


def node_times(events: Sequence[Event], segments_ms: Sequence[float]) -> dict[str, float]:
    """Time of each node in ms, without that of the nodes inside it (of a loop's body).

    Args:
        events: Of one run, in any order.
        segments_ms: Cost of each counted segment of the same run, in order.

    Raises:
        MeasurementInvalid: The two do not fit together.
    """
    inside = sorted(_inside(events), key=lambda event: (event.begin_us, -event.duration_us))
    reads = len(segments_ms) - 1
    after = reads - BEFORE - 2 * len(inside)
    if not LEAST_AFTER <= after <= MOST_AFTER:
        raise MeasurementInvalid(f"{len(inside)} nodes do not explain {reads} looks at the clock")
    times, took = [0.0] * len(inside), [event.duration_us for event in inside]
    at, running = BEFORE, list[int]()
    for begun, event in enumerate([*inside, None]):
        while running and (event is None or inside[running[-1]].end_us <= event.begin_us):
            running.pop()
            at += 1
            if running:
                times[running[-1]] += segments_ms[at]
        if event is not None:
            if running:
                took[running[-1]] -= event.duration_us
            running.append(begun)
            at += 1
            times[begun] += segments_ms[at]
    if _apart(times, took) > MOST_APART:
        raise MeasurementInvalid("the nodes' times do not fit what was counted between looks at the clock")
    named: dict[str, float] = {}
    for event, time_ms in zip(inside, times, strict=True):
        if event.category == "Node":
            name = event.name.removesuffix(SUFFIX)
            named[name] = named.get(name, 0.0) + time_ms
    return named


def _inside(events: Sequence[Event]) -> list[Event]:
    """All that happened within the outermost executor."""
    outer = [event for event in events if event.category == "Session"]
    outermost = sorted(outer, key=lambda event: -event.duration_us)[:2]  # the run, and its executor
    return [event for event in events if event not in outermost]


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Total variation distance of two shares, 0..1."""
    if not sum(ours) or not sum(theirs):
        return 0.0
    pairs = zip(ours, theirs, strict=True)
    return sum(abs(a / sum(ours) - b / sum(theirs)) for a, b in pairs) / 2
