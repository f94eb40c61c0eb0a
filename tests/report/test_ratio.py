from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.report.ratio import modelled_ratio


@given(st.floats(0.01, 100), st.floats(0, 1))
def test_who_is_beaten_beyond_the_error_is_worse_beyond_it_and_ties_are_mutual(
    value: float, error: float
) -> None:
    _, low, high = modelled_ratio(value, error)
    assert low <= value <= high
    _, other_low, other_high = modelled_ratio(1 / value, error)
    assert (low, high) == (pytest.approx(1 / other_high), pytest.approx(1 / other_low))
