"""What a search on counts sees repeats, although the counts of single nodes do not quite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.optimize.loop import SETTLED_STEP, settled


@given(st.floats(1e-6, 1e6))
def test_a_settled_time_is_near_and_stays(ms: float) -> None:
    assert settled(ms) == pytest.approx(ms, rel=SETTLED_STEP)
    assert settled(settled(ms)) == pytest.approx(settled(ms), rel=1e-12)


def test_a_hair_s_breadth_is_no_difference() -> None:
    assert settled(0.2134744) == settled(0.2134744 * 1.0001)
    assert settled(0.2134744) != settled(0.2134744 * 1.03)
    assert settled(0.0) == 0.0
