"""The winner's outputs are computed on the board before it may be called best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeopt.core.objective import MaxDrop, Objective
from edgeopt.core.progress import Observer
from edgeopt.data.split import Part, Parts
from edgeopt.optimize.batch import Batch
from edgeopt.optimize.final import Final, _judge, _verified
from edgeopt.optimize.verdict import Contender
from edgeopt.options import BoardOptions
from tests.data.made import labelled
from tests.data.test_accuracy import gate
from tests.optimize.test_verdict import contender, rounds

Feeds = Mapping[str, Any]


class Kernels:
    """A board that answers as its input says, but for the first of every so many samples: its kernels differ
    from the host's."""

    name, provenance, pairwise_error = "kitchen", "measured", 0.0

    def __init__(self, wrong_every: dict[str, int]) -> None:
        self.wrong_every, self.asked = wrong_every, list[str]()

    def infer(self, artifact: Any, samples: Iterable[Feeds]) -> Iterator[list[np.ndarray]]:
        self.asked.append(artifact.sha256)
        every = self.wrong_every.get(artifact.sha256)
        for number, feeds in enumerate(samples):
            yield [-feeds["x"] if every and number % every == 0 else feeds["x"]]


def job(folder: Path, n: int, board: Kernels, max_drop: MaxDrop) -> Any:
    dataset = labelled(folder, n)
    few, everything = Part(dataset, np.arange(4)), Part(dataset, np.arange(n))
    parts = Parts(few, few, everything)
    checked = gate(dataset, parts=parts, max_drop=max_drop)
    return SimpleNamespace(
        board=board,
        gate=checked,
        confirm_score=checked.original("confirm").score,
        options=SimpleNamespace(
            objective=Objective("latency", max_drop),
            data=SimpleNamespace(state={}),
            board=BoardOptions("rpi4"),
        ),
        inputs=SimpleNamespace(
            parts=parts, batch=Batch(1, 0), fed=lambda part: SimpleNamespace(samples=part.samples)
        ),
        evaluator=SimpleNamespace(host_run=lambda _: lambda feeds: [feeds["x"].copy()]),
        observer=Observer(),
        stopping=Event(),
        power_cycle=None,
        device_seconds=0.0,
    )


def final(made: Any) -> Final:
    """Of an original, a recipe and a finalist, each clearly faster than the one before; on the host none of
    them loses anything."""
    original = contender("original", rounds(2.0, seed=1), "baseline")
    original = replace(original, accuracy=made.gate.original("confirm"))
    others: list[Contender] = [
        contender("int8", rounds(1.5, seed=2), "reference"), contender("c", rounds(1.0, seed=3)),
    ]  # fmt: skip
    accuracy = made.gate.bound(made.evaluator.host_run(None), 2)
    judged = [_judge(made, one, original, accuracy, 2) for one in others]
    assert [one.rejected for one in judged] == [None, None]
    return _verified(made, original, judged, 1, 2)


def test_what_got_worse_rejects_nobody_where_the_original_breaks_a_limit(tmp_path: Path) -> None:
    made = job(tmp_path, 600, Kernels({}), MaxDrop(0.02, relative=False))
    original, larger = contender("original", rounds(2.0)), contender("c", rounds(1.0), size_bytes=2000)
    accuracy = made.gate.bound(made.evaluator.host_run(None), 1)
    judged = [
        _judge(made, larger, replace(original, rejected=reason), accuracy, 1) for reason in (None, "too slow")
    ]
    assert [one.rejected for one in judged] == ["size is 100% worse than the original's", None]
    assert [one.worse for one in judged] == [("size is 100% worse than the original's",)] * 2


def test_who_agrees_with_the_host_is_best(tmp_path: Path) -> None:
    board = Kernels({})
    found = final(job(tmp_path, 600, board, MaxDrop(0.02, relative=False)))
    assert (found.verdict, found.verified_on, board.asked) == ("improved", "board", ["c", "c"])


def test_what_the_board_could_have_proven_and_did_not_is_not_best(tmp_path: Path) -> None:
    """Of 500 samples 6 go wrong there: less than the 2 % that may be lost, but its bound is more."""
    board = Kernels({"c": 84})
    found = final(job(tmp_path, 500, board, MaxDrop(0.02, relative=False)))
    loser = next(one for one in found.contenders if one.trial.name == "c")
    assert loser.accuracy
    assert loser.accuracy.drop == pytest.approx(0.012)
    assert loser.rejected == "on the board, the accuracy drop may be as large as 0.0259, 0.0200 is allowed"
    assert (found.verdict, found.winner.trial.name, found.verified_on) == ("reference", "int8", "board")
    assert board.asked == ["c", "int8"]


def test_where_the_data_can_prove_nothing_the_drop_itself_decides(tmp_path: Path) -> None:
    found = final(job(tmp_path, 60, Kernels({"c": 60}), MaxDrop(0.02, relative=False)))
    assert found.verdict == "improved"
    assert found.winner.accuracy
    assert found.winner.accuracy.bound > 0.02  # so its status is "not established"


def test_what_the_looks_of_a_sequential_test_cost_refuses_nobody_who_loses_nothing(tmp_path: Path) -> None:
    """On the host 600 samples are just enough; on the board two looks share the error rate."""
    made = job(tmp_path, 600, Kernels({}), MaxDrop(0.02, relative=False))
    once, shared = made.gate.least_bound(2), made.gate.least_bound(2, elsewhere=True)
    assert once < shared
    between = MaxDrop((once + shared) / 2, relative=False)
    made.options.objective = Objective("latency", between)
    found = final(made)
    assert found.verdict == "improved"
    assert found.winner.accuracy
    assert found.winner.accuracy.bound == pytest.approx(shared)
