"""All variants of a model are counted by the rule that its original gets."""

from __future__ import annotations

from edgeopt.boards.virtual.warming import LONG_MS, cache_runs

MB = 1 << 20


def never() -> float:
    raise AssertionError("was asked")


def test_what_may_stay_in_the_caches_warms_them_first_and_so_do_larger_originals_of_such_variants() -> None:
    assert cache_runs(MB // 2, MB, never) == 1
    assert cache_runs(4 * MB, MB, never) == 1


def test_what_no_cache_holds_is_not_warmed_and_a_long_one_is_not_even_run_before() -> None:
    assert cache_runs(5 * MB, MB, lambda: LONG_MS / 2) == 0
    assert cache_runs(5 * MB, MB, lambda: None) == 0
    assert cache_runs(5 * MB, MB, lambda: LONG_MS) is None


def test_a_mobilenet_v2_is_counted_in_one_run_on_every_board() -> None:
    largest = {"rpi-zero2w": MB // 2, "rpi3bplus": MB // 2, "rpi4": MB, "rpi5": 2 * MB}
    arithmetic_ms = dict.fromkeys(largest, 600000000.0 / 8 / 2400000.0)  # 600 MFLOP, the fastest core's peak
    assert {cache_runs(14_000_000, largest[name], lambda n=name: arithmetic_ms[n]) for name in largest} == {
        None
    }
