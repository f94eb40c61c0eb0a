"""What is rounded repeats, although counts do not quite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.boards.virtual.settled import NODE_STEP, WHOLE_STEP, settled

STEPS = st.sampled_from([NODE_STEP, WHOLE_STEP])


@given(st.floats(1e-6, 1e6), STEPS)
def test_a_settled_time_is_near_and_stays(ms: float, step: float) -> None:
    assert settled(ms, step) == pytest.approx(ms, rel=step)
    assert settled(settled(ms, step), step) == pytest.approx(settled(ms, step), rel=1e-12)


@pytest.mark.parametrize(("step", "hair"), [(NODE_STEP, 1.0001), (WHOLE_STEP, 1.00001)])
def test_a_hair_s_breadth_is_no_difference(step: float, hair: float) -> None:
    assert settled(0.2134744, step) == settled(0.2134744 * hair, step)
    assert settled(0.2134744, step) != settled(0.2134744 * (1 + 1.5 * step), step)
    assert settled(0.0, step) == 0.0
