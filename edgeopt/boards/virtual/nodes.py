"""Which counted segment belongs to which node: the clock was read where ONNX Runtime's profiler reads it.

With its profiler on, the runtime reads the clock as each node begins and ends, and the counting plugin begins
a segment at each read. So the events of the profile, put in order, say what every segment was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.core.errors import MeasurementInvalid

AROUND = ((3, 5), (3, 6), (4, 5))
"""Reads before the first node begins (of the run, its bookkeeping, the executor) and after the last ended.

There is one more at times, before or after. Source: counted with onnxruntime 1.28 on aarch64; `node_times`
refuses where it does not hold.
"""

LEAST_SHARE = 0.7
"""Nodes take this much of a run at least: else what was taken for nodes is what lies between them."""

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


def node_times(events: Sequence[Event], segments_ms: Sequence[float], whole_ms: float) -> dict[str, float]:
    """Time of each node in ms, without that of the nodes inside it (of a loop's body).

    The profiler describes each node's inputs while the clock runs, every time at about the same cost: what
    the nodes take together beyond the same run without it is taken off them evenly.

    Args:
        events: Of one run, in any order.
        segments_ms: Cost of each counted segment of the same run, in order.
        whole_ms: The run without profiler.

    Raises:
        MeasurementInvalid: The two do not fit together.
    """
    inside = sorted(_inside(events), key=lambda event: (event.begin_us, -event.duration_us))
    reads = len(segments_ms) - 1
    possible = [before for before, after in AROUND if before + 2 * len(inside) + after == reads]
    if not possible:
        raise MeasurementInvalid(f"{len(inside)} nodes do not explain {reads} looks at the clock")
    # Where the odd read may have been on either side: a read too far, and what lies between nodes is taken.
    times = max((_times(inside, segments_ms, before) for before in possible), key=sum)
    if sum(times) < LEAST_SHARE * whole_ms:
        raise MeasurementInvalid(f"nodes of {sum(times):.3g} ms do not explain a run of {whole_ms:.3g} ms")
    profiler_ms = max(0.0, sum(times) - whole_ms) / max(1, len(times))
    named: dict[str, float] = {}
    for event, time_ms in zip(inside, times, strict=True):
        if event.category == "Node":
            name = event.name.removesuffix(SUFFIX)
            named[name] = named.get(name, 0.0) + max(0.0, time_ms - profiler_ms)
    return named


def _times(inside: Sequence[Event], segments_ms: Sequence[float], before: int) -> list[float]:
    """Time of each node, in order of their beginnings, where the first begins after `before` reads."""
    times = [0.0] * len(inside)
    at, running = before, list[int]()
    for begun, event in enumerate([*inside, None]):
        while running and (event is None or inside[running[-1]].end_us <= event.begin_us):
            running.pop()
            at += 1
            if running:
                times[running[-1]] += segments_ms[at]
        if event is not None:
            running.append(begun)
            at += 1
            times[begun] += segments_ms[at]
    return times


def _inside(events: Sequence[Event]) -> list[Event]:
    """All that happened within the outermost executor."""
    outer = [event for event in events if event.category == "Session"]
    outermost = sorted(outer, key=lambda event: -event.duration_us)[:2]  # the run, and its executor
    return [event for event in events if event not in outermost]
