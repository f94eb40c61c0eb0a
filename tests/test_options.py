from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError
from edgeopt.core.objective import MaxDrop
from edgeopt.options import Budget, parse_duration_s, parse_fixed, parse_shape, parse_size_bytes


@given(st.integers(0, 10**6))
def test_a_number_of_trials(n: int) -> None:
    assert Budget.parse(f"{n} trials") == Budget(trials=n)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_adds_up(hours: int, minutes: int, seconds: int) -> None:
    total = 3600 * hours + 60 * minutes + seconds
    assert parse_duration_s(f"{hours}h{minutes}m{seconds}s", "--wait") == total
    assert Budget.parse(f"{hours}h {minutes}m {seconds}s") == Budget(seconds=total)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("0", Budget(trials=0)),
        ("1 trial", Budget(trials=1)),
        ("30m", Budget(seconds=1800)),
        ("1.5h", Budget(seconds=5400)),
        ("10min", Budget(seconds=600)),
    ],
)
def test_forms_of_a_budget(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        budget = Budget.parse(text)
        assert (budget.seconds is None) != (budget.trials is None)
        assert (budget.seconds or 0) >= 0


@pytest.mark.parametrize("text", ["40", "-5m", "trials", "1e9", "5 days", "", "m30"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Budget.parse(text)


@given(st.integers(1, 10**6), st.sampled_from([("", 1), ("k", 1e3), ("MB", 1e6), ("MiB", 2**20), ("g", 1e9)]))
def test_sizes(n: int, unit: tuple[str, float]) -> None:
    assert parse_size_bytes(f"{n}{unit[0]}", "--max-size") == n * unit[1]


@given(st.text(max_size=10))
def test_any_text_is_a_positive_size_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_size_bytes(text, "--max-size") > 0


@given(st.floats(0, 100, allow_nan=False))
def test_drops_are_relative_with_a_percent_sign(value: float) -> None:
    assert MaxDrop.parse(f"{value}%").relative
    assert not MaxDrop.parse(f"{value}").relative


@given(
    st.text(min_size=1, max_size=20).filter(lambda s: s == s.strip()),
    st.lists(st.integers(1, 9999), max_size=5).map(tuple),
)
def test_shapes_round_trip_for_any_input_name(name: str, shape: tuple[int, ...]) -> None:
    assert parse_shape(f"{name}={','.join(map(str, shape))}") == (name, shape)


@pytest.mark.parametrize("text", ["x", "=1,2", "x=1,,2", "x=0,3", "x=-1", "x=a"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(ConfigError, match="shape"):
        parse_shape(text)


@pytest.mark.parametrize("text", ["sr=16000", "h0=zeros", "m=1,1,0", "t=1e-3"])
def test_fixed_values(text: str) -> None:
    assert "=".join(parse_fixed(text)) == text


@pytest.mark.parametrize("text", ["sr", "=3", "h0=ones", "x=nan", "x=", "x=1,"])
def test_what_is_no_fixed_value(text: str) -> None:
    with pytest.raises(ConfigError, match="fixed"):
        parse_fixed(text)
