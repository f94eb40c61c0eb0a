from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgeopt.bench.answers import Recorded, Way
from edgeopt.bench.replay import Run, hypervolume, replay
from edgeopt.bench.scores import in_sum, measurements_to, medians, scores
from edgeopt.bench.search import SearchBench, search
from edgeopt.core.progress import Observer
from tests.bench import made_up


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded(made_up.oracle(60))


@pytest.mark.parametrize("way", ["pool", "fitted"])
@pytest.mark.parametrize("sampler", ["random", "tpe", "nsgaii", "local", "greedy"])
def test_the_same_seed_finds_the_same(recorded: Recorded, way: Way, sampler: str) -> None:
    first, again = (replay(recorded, way, sampler, 3, 12) for _ in range(2))
    assert first.best == again.best
    assert len(first.best) == 13
    assert list(first.best) == sorted(first.best, reverse=True)
    assert first.hypervolume is not None
    assert list(first.hypervolume) == sorted(first.hypervolume)


def test_a_pool_that_is_used_up_ends_the_search(recorded: Recorded) -> None:
    run = replay(recorded, "pool", "random", 0, 500)
    oracle = recorded.oracle
    assert run.trials == 60
    assert run.best[-1] == min(f for t in oracle.trials if (f := oracle.objective.of_trial(t)) is not None)


def test_a_refusal_costs_no_measurement(recorded: Recorded) -> None:
    run = replay(recorded, "pool", "random", 1, 10)
    assert run.trials > 10
    assert len(run.best) == 11


def test_the_hypervolume_is_the_area_that_is_dominated() -> None:
    assert hypervolume([]) == 0
    assert hypervolume([(0.5, 0.5)]) == 0.25
    assert hypervolume([(0.5, 0.5), (0.25, 0.75), (0.6, 0.6)]) == pytest.approx(0.25 + 0.25 * 0.25)
    assert hypervolume([(1.2, 0.0), (0.5, 1.5)]) == 0


def test_medians_have_intervals_and_never_stays_never() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        _, low, high = medians(rng.normal(0, 1, (20, 1)))[:, 0]
        inside += low <= 0 <= high
    assert inside >= 50
    assert medians(np.array([[1.0], [math.inf], [math.inf]]))[0, 0] == math.inf


def run_of(*best: float, seed: int = 0) -> Run:
    return Run("o", "pool", "s", seed, best, None, len(best) - 1, None, 0.0)


def test_measurements_are_counted_after_the_references() -> None:
    assert measurements_to(run_of(5.0, 4.0, 3.0), 5.0) == 0
    assert measurements_to(run_of(5.0, 4.0, 3.0), 3.5) == 2
    assert measurements_to(run_of(5.0, 4.0, 3.0), 2.0) == math.inf


def test_scores_are_shares_of_the_best_known() -> None:
    said = scores([run_of(8.0, 8.0, 4.0, seed=s) for s in range(3)], 4.0, None, 10)
    assert said["speed"]["10"] == {"median": 1.0, "ci95": [1.0, 1.0]}
    assert said["reach_95_of_best"]["median"] == 2
    assert said["share_reached"] == 1
    assert said["hypervolume"] is None
    slow = scores([run_of(8.0, 8.0, 8.0)], 4.0, None, 10)
    assert slow["reach_95_of_best"] == {"median": None, "ci95": [None, None]}
    summed = in_sum({"a": {"random": slow, "good": said}, "b": {"random": said}}, 10)
    assert summed["samplers"]["good"]["rank"] == 1
    assert summed["samplers"]["random"]["rank"] == 2
    assert summed["samplers"]["random"]["oracles"] == 1


def test_runs_are_kept_and_a_torn_line_is_run_again(tmp_path: Path) -> None:
    path, kept = tmp_path / "o.jsonl.gz", tmp_path / "runs.jsonl"
    made_up.oracle(30).save(path)
    bench = SearchBench((path,), ("pool",), ("random", "local"), 2, 5, 1, kept)
    first = search(bench, Observer())
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    marked = json.loads(lines[0])
    marked["run"]["thinking_s"] = 1e6
    kept.write_text(json.dumps(marked) + "\n" + "".join(lines[1:3]) + lines[3][:20] + "\n")
    again = search(bench, Observer())
    assert len(kept.read_text().splitlines()) == 5
    of_one = again["ways"]["pool"]["by_oracle"]["made-up on nowhere"]
    assert of_one["random"]["thinking_s"] > 1e4  # taken from the file
    assert (
        of_one["local"]["curve"] == first["ways"]["pool"]["by_oracle"]["made-up on nowhere"]["local"]["curve"]
    )


def test_a_sampler_that_refuses_the_space_is_named_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl.gz"
    made_up.oracle(12).save(path)
    document = search(SearchBench((path,), ("pool",), ("random", "nas"), 1, 3), Observer())
    assert [(row["sampler"], "structure" in row["reason"]) for row in document["refused"]] == [("nas", True)]
    assert set(document["ways"]["pool"]["by_oracle"]["made-up on nowhere"]) == {"random"}
