"""Who gets a release when, and how many may fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError
from edgeopt.field.outcome import Outcome, State
from edgeopt.field.waves import Wave, may_fail, parse_rate, plan, verdict

FLEET = [f"pi-{number}" for number in range(50)]


def sizes(waves: list[Wave]) -> list[int]:
    return [len(wave.names) for wave in waves]


def ended(state: State, *names: str) -> list[Outcome]:
    return [Outcome(name, state, reason=None if state == "updated" else "why") for name in names]


def test_a_few_come_first_then_more() -> None:
    waves = plan(FLEET, 2, "10%,50%,100%")
    assert sizes(waves) == [2, 3, 20, 25]
    assert [wave.is_canary for wave in waves] == [True, False, False, False]
    assert [name for wave in waves for name in wave.names] == FLEET


def test_what_the_waves_leave_comes_last() -> None:
    assert sizes(plan(FLEET, 0, "5,20")) == [5, 15, 30]


def test_a_wave_without_new_devices_is_left_out() -> None:
    assert sizes(plan(FLEET[:3], 1, "10%,50%,100%")) == [1, 1, 1]
    assert sizes(plan(FLEET[:2], 1, "10%,50%,100%")) == [1, 1]


def test_a_single_device_is_no_canary() -> None:
    assert plan(["pi"], 1, "10%,100%") == [Wave(1, ("pi",))]


@pytest.mark.parametrize("waves", ["", "a", "0%", "-5", "120%", "50%,10%", "10%;20%"])
def test_what_are_no_waves_is_refused(waves: str) -> None:
    with pytest.raises(ConfigError, match="--waves"):
        plan(FLEET, 1, waves)


@given(st.integers(1, 300), st.integers(0, 20), st.lists(st.integers(1, 100), max_size=5))
def test_every_device_is_in_one_wave(count: int, canaries: int, shares: list[int]) -> None:
    names = [str(number) for number in range(count)]
    waves = plan(names, canaries, ",".join(f"{share}%" for share in sorted(shares)) or "100%")
    assert [name for wave in waves for name in wave.names] == names
    assert [wave.number for wave in waves] == list(range(1, len(waves) + 1))


def test_of_canaries_none_may_fail_and_of_others_always_one() -> None:
    assert may_fail(Wave(1, ("a", "b"), is_canary=True), 2, 0.5) == 0
    assert may_fail(Wave(2, ("a",) * 4), 4, 0.1) == 1
    assert may_fail(Wave(3, ("a",) * 50), 50, 0.1) == 5
    assert may_fail(Wave(3, ("a",) * 50), 50, 0.0) == 0


def test_a_wave_is_stopped_as_soon_as_it_is_certain() -> None:
    wave = Wave(2, tuple(FLEET[:20]))
    assert verdict(wave, ended("failed", *FLEET[:2]), 0.1) is None
    why = verdict(wave, ended("failed", *FLEET[:3]), 0.1)
    assert why == "3 of 20 devices of wave 2 failed, 2 may: pi-0: why"


def test_who_is_not_reached_neither_fails_nor_counts() -> None:
    wave = Wave(2, tuple(FLEET[:20]))
    silent = ended("unreached", *FLEET[:12])
    assert verdict(wave, silent, 0.25) is None
    assert verdict(wave, [*silent, *ended("failed", "pi-12", "pi-13")], 0.25) is None
    why = verdict(wave, [*silent, *ended("failed", "pi-12", "pi-13", "pi-14")], 0.25)
    assert why is not None
    assert why.startswith("3 of 8 devices")


def test_a_wave_that_nobody_answers_proves_nothing() -> None:
    wave = Wave(1, ("a", "b"), is_canary=True)
    assert verdict(wave, ended("unreached", "a"), 0.1) is None
    why = verdict(wave, ended("unreached", "a", "b"), 0.1)
    assert why == "none of the 2 devices of wave 1 was reached: why"


def test_shares_are_read_in_both_ways() -> None:
    assert parse_rate("5%") == parse_rate("0.05") == 0.05
    for text in ("", "a%", "101%", "1.5", "nan", "-1%"):
        with pytest.raises(ConfigError, match="--share"):
            parse_rate(text, "--share")
