"""The longest tests start first, each process has its share, and none is lost."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.scheduling import DURATIONS, TOGETHER, dealt, durations

ROOT = Path(__file__).parent.parent
NAMES = ["a", "b", "c", "d", f"{TOGETHER[0]}/x.py", f"{TOGETHER[0]}/y.py"]


def test_slow_modules_come_first_in_each_process_and_stay_whole() -> None:
    modules = ["a"] * 3 + ["b"] * 2 + ["c"] * 4 + ["d"] + ["e"] * 2
    order = [modules[test] for test in dealt(modules, {"b": 50.0, "d": 30.0, "e": 20.0}, 2)]
    assert order == [*"bbaaac", *"deeccc"]


def test_what_shares_a_board_is_in_one_process() -> None:
    modules = ["a", "a", f"{TOGETHER[0]}/x.py", "b", f"{TOGETHER[0]}/y.py", "c"]
    order = [modules[test] for test in dealt(modules, {f"{TOGETHER[0]}/x.py": 9.0, "c": 50.0}, 2)]
    assert order == ["c", "a", "a", f"{TOGETHER[0]}/x.py", f"{TOGETHER[0]}/y.py", "b"]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 5)), unique_by=lambda one: one[0]),
    st.dictionaries(st.sampled_from(NAMES), st.floats(0, 100)),
    st.integers(1, 4),
)
def test_none_is_lost_and_none_runs_twice(
    counts: list[tuple[str, int]], known_s: dict[str, float], processes: int
) -> None:
    modules = [name for name, count in counts for _ in range(count)]
    assert sorted(dealt(modules, known_s, processes)) == list(range(len(modules)))


def test_every_module_of_the_record_is_there() -> None:
    known = durations(DURATIONS.read_text())
    assert len(known) > 10
    assert [module for module in known if not (ROOT / module).is_file()] == []
    assert [folder for folder in TOGETHER if not (ROOT / folder).is_dir()] == []
