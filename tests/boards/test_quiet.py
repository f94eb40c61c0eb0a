"""Which part of a measurement counts: chosen by probes of the core, and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.boards import quiet
from edgeopt.boards.answers import measurements
from edgeopt.boards.intervals import turned_ratio
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards import test_answers as answers

PROTOCOL = Protocol("final", processes=5, min_runs=40, window_s=1.0, slice_s=0.2, stop_ratio=None,
                    deadline_s=60)  # fmt: skip
CORE, ALONE, SHARED = "0xd08 1500000000", 80.0, 120.0
TURNS, SEGMENTS, RUNS = 5, 4, 10
RECORDED = json.loads((Path(__file__).parent / "data" / "contention.json").read_text())

Busy = Callable[[int, int, int], bool]
"""Whether others have the core in a round, turn and segment."""


def process(rng: np.random.Generator, ms: float, busy: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """What a model that takes `ms` alone, and 1.45 times as long beside others, shows in each segment."""
    latencies = [
        float(ms * (1.45 if shared else 1.0) * np.exp(rng.normal(0, 0.01)))
        for turn in busy for shared in turn for _ in range(RUNS)
    ]  # fmt: skip
    probes = []
    for turn in busy:
        edges = [any(turn[max(0, at - 1) : at + 1]) for at in range(len(turn) + 1)]
        levels = [SHARED if shared else ALONE for shared in edges]
        probes.append([[CORE, level * float(np.exp(rng.normal(0, 0.02)))] for level in levels])
    told = answers.process(latencies, slices=[RUNS * len(turn) for turn in busy])
    return told | {"segments": [[RUNS] * len(turn) for turn in busy], "probes": probes}


def answer(models: Sequence[float], busy: Busy, rounds: int = 5, seed: int = 0) -> dict[str, Any]:
    """Models measured in turns, of so many ms each."""
    rng = np.random.default_rng(seed)
    made = []
    for ms in models:
        times = [[[busy(r, t, s) for s in range(SEGMENTS)] for t in range(TURNS)] for r in range(rounds)]
        made.append(answers.model(*(process(rng, ms, time) for time in times)))
    return answers.answer(*made) | {"loop_cycles": {CORE: ALONE}}


def measured(told: dict[str, Any]) -> list[Measurement]:
    results = measurements(told, PROTOCOL, cores=4)
    assert all(isinstance(result, Measurement) for result in results)
    return [result for result in results if isinstance(result, Measurement)]


def test_on_a_core_of_ones_own_nothing_is_left_out() -> None:
    for seed in range(8):
        told = answer([5.0, 7.0], lambda *_: False, seed=seed)
        for result, model in zip(measured(told), told["models"], strict=True):
            assert list(result.latencies_ms) == [
                ms for one in model["processes"] for ms in one["latencies_ms"]
            ]
            assert (result.contended, result.latency_note) == (0.0, None)


def test_only_segments_between_two_quiet_probes_count() -> None:
    told = answer([5.0], lambda r, t, _: t in (1, 2) or r == 4)
    (result,) = measured(told)
    assert len(result.latencies_ms) == 4 * 3 * SEGMENTS * RUNS  # rounds, turns
    assert max(result.latencies_ms) < 6.0
    assert len(result.process_p50_ms) == 4
    assert result.contended == pytest.approx((13 * 1.45) / (13 * 1.45 + 12), rel=0.01)
    assert result.latency_note == (
        "its core was shared with others for 61% of the time, and only the rest counts"
    )
    assert len(result.process_cold_start_ms) == 5  # of every process: no probe tells of its start


def test_a_segment_in_which_others_came_or_went_does_not_count() -> None:
    told = answer([5.0], lambda r, t, s: (r, t, s) == (0, 0, 1))
    (result,) = measured(told)
    assert len(result.latencies_ms) == 5 * TURNS * SEGMENTS * RUNS - 3 * RUNS  # with both neighbours


def test_runs_agree_whatever_others_did_meanwhile() -> None:
    spreads = []
    for is_judged in (True, False):
        medians = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            share, hits = rng.uniform(0.1, 0.8), rng.random((5, TURNS))
            told = answer([5.0], lambda r, t, _, hits=hits, share=share: hits[r, t] < share, seed=seed)
            medians.append(measured(told if is_judged else told | {"loop_cycles": {}})[0].p50_ms)
        spreads.append((max(medians) - min(medians)) / float(np.median(medians)))
    assert spreads[0] < 0.02
    assert spreads[1] > 0.2


def test_the_choice_does_not_look_at_latencies() -> None:
    """Whatever the latencies are, the same ones of them count: nobody gets faster by being chosen."""
    told = answer([5.0], lambda r, t, _: (r + t) % 3 == 0)
    rng = np.random.default_rng(3)
    kept = []
    for _ in range(5):
        numbers = iter(rng.permutation(5 * TURNS * SEGMENTS * RUNS))
        places: list[tuple[int, int, float]] = []
        for r, one in enumerate(told["models"][0]["processes"]):
            one["latencies_ms"] = [float(next(numbers)) + 1 for _ in one["latencies_ms"]]
            places += [(r, at, ms) for at, ms in enumerate(one["latencies_ms"])]
        counted = set(measured(told)[0].latencies_ms)
        kept.append([place[:2] for place in places if place[2] in counted])
    assert all(one == kept[0] for one in kept)
    assert 0 < len(kept[0]) < 5 * TURNS * SEGMENTS * RUNS


@pytest.mark.parametrize(
    "busy",
    [
        lambda *_: True,  # all the time
        lambda r, t, s: (t, s) != (0, 0) or r > 2,  # too few
        lambda r, *_: r > 1,  # of too few processes
    ],
)
def test_where_too_little_is_quiet_everything_counts_and_the_figure_says_so(busy: Busy) -> None:
    (result,) = measured(answer([5.0], busy))
    assert len(result.latencies_ms) == 5 * TURNS * SEGMENTS * RUNS
    assert len(result.process_p50_ms) == 5
    assert "% of the time, and all of it counts" in (result.latency_note or "")
    assert result.validity is None


def test_one_model_that_lacks_quiet_time_makes_everything_count_for_all() -> None:
    told = answer([5.0, 7.0], lambda r, t, _: t == 0)
    for one in told["models"][1]["processes"]:
        one["probes"] = [[[CORE, SHARED] for _ in turn] for turn in one["probes"]]
    for result in measured(told):
        assert len(result.latencies_ms) == 5 * TURNS * SEGMENTS * RUNS
        assert "and all of it counts" in (result.latency_note or "")


def test_ratios_pair_the_turns_that_all_models_have_left() -> None:
    told = answer([5.0, 10.0], lambda *_: False)
    for r, one in enumerate(told["models"][0]["processes"]):  # the board slows down from turn to turn
        other = told["models"][1]["processes"][r]
        for each in (one, other):
            each["latencies_ms"] = [
                ms * 1.3 ** (at // (SEGMENTS * RUNS)) for at, ms in enumerate(each["latencies_ms"])
            ]
        one["probes"][1] = [[CORE, SHARED]] * (SEGMENTS + 1)
        other["probes"][3] = [[CORE, SHARED]] * (SEGMENTS + 1)
    control, slow = measured(told)
    assert [len(turns) for turns in slow.process_turns_ms] == [TURNS - 2] * 5
    found = turned_ratio(slow.process_turns_ms, control.process_turns_ms)
    assert found
    assert found[0] == pytest.approx(2.0, rel=0.01)
    assert slow.control_ratio == pytest.approx(2.0, rel=0.01)


def test_who_was_given_up_keeps_all_of_its_turns_and_its_relation_to_the_control() -> None:
    told = answer([5.0, 20.0], lambda r, *_: r == 0)
    told["models"][1] |= {"stopped_early": True, "processes": told["models"][1]["processes"][:1]}
    control, given_up = measured(told)
    assert len(control.process_p50_ms) == 4
    assert len(given_up.latencies_ms) == TURNS * SEGMENTS * RUNS
    assert given_up.control_ratio == pytest.approx(4.0, rel=0.01)


def test_a_core_of_another_kind_is_compared_with_its_own_kind() -> None:
    told = answer([5.0], lambda *_: False)
    for at, one in enumerate(told["models"][0]["processes"]):
        if at % 2:
            one["probes"] = [
                [["0xd05 1400000000", 2.5 * cycles] for _, cycles in turn] for turn in one["probes"]
            ]
    little = told | {"loop_cycles": {CORE: ALONE, "0xd05 1400000000": 2.5 * ALONE}}
    assert measured(little)[0].latency_note is None
    (unknown,) = measured(told)  # nothing is known of it: it is not said to be shared
    assert (unknown.contended, unknown.latency_note) == (0.0, None)
    assert len(unknown.latencies_ms) == 5 * TURNS * SEGMENTS * RUNS


def test_a_runner_that_cannot_probe_leaves_it_unknown() -> None:
    told = answer([5.0], lambda *_: True) | {"loop_cycles": {}}
    for one in told["models"][0]["processes"]:
        one["probes"] = [[] for _ in one["probes"]]
    (result,) = measured(told)
    assert (result.contended, result.latency_note) == (None, None)
    assert len(result.latencies_ms) == 5 * TURNS * SEGMENTS * RUNS


def test_recorded_the_probe_tells_the_two_modes_of_a_model_apart() -> None:
    """Recorded while other programs ran on the machine itself: so it is lower quartiles of segments."""
    quiet_ms, shared_ms = [], []
    for processes in RECORDED["answers"]:
        turns = [quiet._turns(one, RECORDED["loop_cycles"]) for one in processes]
        found: dict[bool | None, list[float]] = {True: [], False: []}
        for segment in (segment for one in turns for turn in one for segment in turn):
            found[segment.is_quiet].append(float(np.quantile(segment.latencies_ms, 0.25)))
        quiet_ms.append(float(np.median(found[True])))
        shared_ms.append(float(np.median(found[False])))
    assert max(quiet_ms) / min(quiet_ms) < 1.05
    assert min(shared_ms) / max(quiet_ms) > 1.25


def test_recorded_hardly_any_probe_is_near_the_limit() -> None:
    least = RECORDED["loop_cycles"]
    ratios = np.array(
        [
            cycles / least[kind]
            for processes in RECORDED["answers"] for one in processes for turn in one["probes"]
            for kind, cycles in turn
        ]
    )  # fmt: skip
    assert np.mean((ratios > quiet.CONTENDED - 0.05) & (ratios < quiet.CONTENDED + 0.1)) < 0.03
    assert np.mean(ratios < quiet.CONTENDED - 0.05) > 0.2
    assert np.mean(ratios > quiet.CONTENDED + 0.1) > 0.2
