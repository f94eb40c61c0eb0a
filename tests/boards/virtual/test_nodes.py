"""Which counted segment belongs to which node."""

from __future__ import annotations

import pytest

from edgeopt.boards.virtual.nodes import Event, node_times
from edgeopt.core.errors import MeasurementInvalid

OUTER = [
    Event("Session", "model_run", 0, 1000),
    Event("Session", "SequentialExecutor::Execute", 10, 980),
]


def node(name: str, begin_us: float, duration_us: float) -> Event:
    return Event("Node", f"{name}_kernel_time", begin_us, duration_us)


A, B = node("a", 20, 30), node("b", 60, 50)
BEFORE, AFTER = [5.0, 0.1, 0.5, 0.3], [0.4, 0.6, 0.1, 0.2, 0.3, 2.0]


def segments(*between: float) -> list[float]:
    return [*BEFORE, *between, *AFTER]


def test_each_node_has_the_segment_between_its_looks_at_the_clock() -> None:
    times = node_times([A, B, *OUTER], segments(7.0, 1.0, 3.0), whole_ms=10.0)
    assert times == {"a": 7.0, "b": 3.0}


def test_one_look_more_at_the_end_changes_nothing() -> None:
    times = node_times([A, B, *OUTER], [*segments(7.0, 1.0, 3.0), 0.1], whole_ms=10.0)
    assert times == {"a": 7.0, "b": 3.0}


def test_one_look_more_before_the_first_node_is_told_from_one_at_the_end() -> None:
    times = node_times([A, B, *OUTER], [0.1, *segments(7.0, 1.0, 3.0)], whole_ms=10.0)
    assert times == {"a": 7.0, "b": 3.0}


def test_what_the_profiler_adds_is_taken_off_evenly() -> None:
    times = node_times([A, B, *OUTER], segments(7.0, 1.0, 3.0), whole_ms=8.0)
    assert times == {"a": 6.0, "b": 2.0}


def test_the_nodes_of_a_loop_are_not_counted_twice() -> None:
    loop, inner = node("loop", 20, 500), Event("Session", "SequentialExecutor::Execute", 50, 400)
    events = [node("body", 100, 100), node("body", 300, 100), inner, loop, *OUTER]
    # loop( executor( body ) ( body ) )
    times = node_times(events, segments(1.0, 0.5, 4.0, 0.25, 4.0, 0.5, 2.0), whole_ms=12.25)
    assert times == {"loop": 3.0, "body": 8.0}


@pytest.mark.parametrize("found", [segments(7.0, 1.0), segments(7.0, 1.0, 3.0, 1.0, 1.0), [1.0]])
def test_looks_that_the_nodes_do_not_explain_are_refused(found: list[float]) -> None:
    with pytest.raises(MeasurementInvalid, match=r"2 nodes do not explain \d+ looks at the clock"):
        node_times([A, B, *OUTER], found, whole_ms=10.0)


def test_nodes_that_take_next_to_nothing_of_the_run_are_refused() -> None:
    with pytest.raises(MeasurementInvalid, match="nodes of 3 ms do not explain a run of 20 ms"):
        node_times([A, B, *OUTER], segments(1.0, 17.0, 2.0), whole_ms=20.0)
