"""A meter that cannot be right is refused, with what is likely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeopt.boards.metering.check import Seen, _powers, judge
from edgeopt.boards.metering.edges import Pattern
from edgeopt.boards.metering.link import Link
from edgeopt.boards.meters import Sample, Settings
from edgeopt.core.errors import BoardError

PI4 = Seen("meter", 0.02, 280, 20.0, 0.004, 2.0, 5.1, 1.6, 5.0)
HWMON = Link(Settings("hwmon", address="1-0040", shunt_ohm=0.01))


def refused(seen: Seen, link: Link = HWMON) -> BoardError:
    with pytest.raises(BoardError) as refusal:
        judge("kitchen", seen, link)
    assert refusal.value.exit_code == 4
    return refusal.value


def test_a_meter_that_makes_sense_passes() -> None:
    judge("kitchen", PI4, HWMON)
    judge(
        "kitchen", replace(PI4, profile_idle_w=None, profile_stress_w=None, idle_w=100, stress_w=200), HWMON
    )


def test_samples_of_one_state_alone_tell_nothing() -> None:
    marks = Pattern(0.0, 14.0, ((5.0, 10.0),))
    idle = [Sample(t / 10, 2.0) for t in range(40)]
    with pytest.raises(BoardError, match="no sample while the board was idle, or none while it was busy"):
        _powers(idle, marks, same_clock=True)
    both = [*idle, *(Sample(6 + t / 10, 5.0) for t in range(30))]
    assert _powers(both, marks, same_clock=True) == (2.0, 5.0)


def test_ten_times_too_much_names_the_shunt() -> None:
    error = refused(replace(PI4, idle_w=20.0, stress_w=51.0))
    assert "shows 20 W idle, its profile says 1.6 W: more than 2 times off" in error.message
    assert "100 mΩ taken for 10: try shunt_ohm = 0.1" in str(error.hint)


def test_ten_times_too_little_names_the_shunt_too() -> None:
    link = Link(Settings("hwmon", address="1-0040", shunt_ohm=0.1))
    error = refused(replace(PI4, idle_w=0.2, stress_w=0.51), link)
    assert "10 mΩ taken for 100: try shunt_ohm = 0.01" in str(error.hint)


def test_a_meter_that_does_not_follow_the_board_is_refused() -> None:
    error = refused(replace(PI4, idle_w=2.0, stress_w=2.02))
    assert "does not follow this board" in str(error.hint)


def test_a_part_of_a_jetsons_supply_is_guessed() -> None:
    link = Link(Settings("hwmon", address="ina3221", shunt_ohm="kernel", channel="VDD_CPU_GPU_CV"))
    error = refused(replace(PI4, idle_w=0.6, stress_w=1.9), link)
    assert "VDD_IN" in str(error.hint)


def test_only_one_of_both_off_is_refused_as_well() -> None:
    assert "with all cores busy" in refused(replace(PI4, stress_w=11.0)).message


def test_of_a_board_without_a_meter_nobody_speaks_of_a_sensor() -> None:
    link = Link(Settings("model", idle_w=2.3, k_w=4.5))
    for seen in (replace(PI4, source="model", stress_w=2.02), replace(PI4, source="model", stress_w=11.0)):
        error = refused(seen, link)
        assert error.message.startswith("the model of kitchen's power says ")
        assert not {"meter", "sensor", "channel"} & set(f"{error.message} {error.hint}".split())
    assert "power.model_k_w" in str(error.hint)
