"""Recording goes on where it stopped, and covers what samplers ask for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeopt.bench.coverage import SAMPLERS, cover, mix
from edgeopt.bench.oracle import Oracle
from edgeopt.core.candidate import Candidate
from edgeopt.core.trial import Trial
from edgeopt.search.layout import FAMILIES, Layout
from tests.bench import made_up
from tests.cli.conftest import Ran, folder, run
from tests.e2e import made

__all__ = ["folder", "run"]


def record(run: Callable[..., Ran], work: Path, file: str, count: int) -> Oracle:
    ran = run(
        "bench", "record", "net.onnx", "--device", "rpi4", "--board", "predicted", "--data", "data.npz",
        "--candidates", count, "-o", file, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["counts"]["candidates"] == count
    return Oracle.load(work / file)


def test_a_recording_that_was_stopped_goes_on(run: Callable[..., Ran], folder: Path) -> None:
    made.classifier(folder / "net.onnx")
    made.samples(folder / "data.npz")
    some = record(run, folder, "o.jsonl.gz", 2)
    more = record(run, folder, "o.jsonl.gz", 5)
    at_once = record(run, folder, "p.jsonl.gz", 5)
    assert more.trials[: len(some.trials)] == some.trials
    assert [t.candidate for t in more.trials] == [t.candidate for t in at_once.trials]
    assert [t.kind for t in more.trials].count("baseline") == 1
    assert {"mix", "random"} <= set(more.sources)
    assert more.about["provenance"] == "predicted"
    assert more.original_score is not None
    assert more.region_noise


@pytest.fixture(scope="module")
def covered() -> list[tuple[str, Candidate]]:
    """The first proposals, on a made-up board; without `ppo`, which takes long to train."""
    oracle = made_up.oracle(40)
    fitted = {trial.candidate: trial for trial in oracle.trials}
    asked: list[tuple[str, Candidate]] = []

    def evaluate(candidate: Candidate, source: str) -> Trial:
        asked.append((source, candidate))
        return fitted.get(candidate, replace(oracle.trials[1], candidate=candidate, kind="candidate"))

    from edgeopt.search.context import SearchContext

    context = SearchContext(oracle.space, oracle.objective, 0, None, lambda: oracle.given, lambda: 0.9)
    quick = tuple(name for name in SAMPLERS if name not in ("ppo", "exact"))
    for _ in itertools.islice(cover(context, evaluate, quick), 60):
        pass
    return asked


def test_all_sources_take_turns(covered: list[tuple[str, Candidate]]) -> None:
    sources = [source for source, _ in covered]
    assert set(sources) == {
        "uniform",
        "mix",
        "change",
        "random",
        "tpe",
        "nsgaii",
        "local",
        "greedy",
        "evolution",
    }
    assert max(sources.count(s) for s in set(sources)) <= 8
    assert len({candidate for _, candidate in covered}) > 45


def test_mixes_have_every_density_and_two_precisions_at_most() -> None:
    layout, rng = Layout(made_up.oracle(2).space), np.random.default_rng(0)
    precision = layout.family == FAMILIES.index("precision")
    rows = np.array([mix(layout, rng) for _ in range(200)])
    spoken = layout.spoken(rows)[:, :-1][:, precision]
    shares = (spoken > 0).mean(axis=1)
    assert shares.min() < 0.1
    assert shares.max() > 0.9
    assert all(len(set(row[row > 0])) <= 1 for row in spoken)
