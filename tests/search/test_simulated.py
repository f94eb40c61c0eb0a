"""Simulated boards: what policies are trained on has the properties that make real boards hard."""

from __future__ import annotations

import numpy as np
import pytest

from edgeopt.search.neighbours import mutate
from edgeopt.search.pretraining import draw_board, study
from edgeopt.search.simulated import SimulatedBoard
from edgeopt.search.spaces import random_space

BOARDS = [draw_board(np.random.default_rng([9, number])) for number in range(12)]


def some(board, count=200):
    rng = np.random.default_rng(0)
    return np.array([[rng.integers(n) for n in board.layout.options] for _ in range(count)])


def test_spaces_are_valid_and_differ():
    spaces = [random_space(np.random.default_rng(seed)) for seed in range(40)]
    assert len({space.model_digest for space in spaces}) > 30
    for space in spaces:
        names = [region.name for region in space.regions]
        assert len(set(names)) == len(names)
        for i, region in enumerate(space.regions):
            assert set(region.predecessors) <= set(names[:i])
        space.validate(space.default())
    kinds = {op for space in spaces for region in space.regions for op in region.op_types}
    assert {"Conv", "MatMul", "Add"} <= kinds
    assert kinds & {"LSTM", "GRU"}


def test_times_are_positive_and_the_default_loses_nothing():
    for board in BOARDS:
        assert (board.figure_ms(some(board)) > 0).all()
        assert board.drop(board.layout.default[None]) == pytest.approx(0)
        assert board.gain(board.layout.default[None]) == pytest.approx(0)


def test_mixing_at_random_is_slower_than_the_best_uniform_choice():
    slower = 0
    for board in BOARDS:
        uniform = board.layout.encode(board.references())
        slower += np.median(board.figure_ms(some(board))) > board.figure_ms(uniform).min()
    assert slower >= 10


def test_a_gain_that_breaks_the_accuracy_is_none():
    board = max(BOARDS, key=lambda b: b.drop(some(b)).max())
    codes = some(board)
    broken = board.drop(codes) > board.allowed_drop
    assert broken.any()
    assert board.gain(codes)[broken].max() <= -0.2


def test_a_study_is_repeated_by_its_seed_and_measured_with_noise():
    space = random_space(np.random.default_rng(3))
    runs = [study(SimulatedBoard(space, np.random.default_rng(1)), 6, np.random.default_rng(2)) for _ in "ab"]
    assert runs[0] == runs[1]
    board = SimulatedBoard(space, np.random.default_rng(1))
    measured = [t for t in runs[0] if t.measurement]
    true_ms = board.figure_ms(board.layout.encode([t.candidate for t in measured]))
    off = np.array([t.measurement.p50_ms for t in measured]) / true_ms - 1
    assert 0 < np.abs(off).max() < 0.2


def test_training_goes_on_where_it_stopped():
    from edgeopt.search.pretraining import pretrain

    rounds = pretrain(5, 0, None)
    first, second = next(rounds), next(rounds)
    again = next(pretrain(5, 1, first.weights))
    assert again.number == second.number == 2
    assert all((again.weights[name] == array).all() for name, array in second.weights.items())


def test_variants_stay_in_the_space():
    board = BOARDS[0]
    children = mutate(board.layout, board.layout.default[None], 50, np.random.default_rng(0))
    assert (children < board.layout.options).all()


def test_widths_save_time_of_the_region_and_of_its_readers_in_every_precision():
    board = next(
        b
        for n in range(20)
        if len((b := structured_board(n)).layout.points_of("structure")) >= 3 and len(b.layout.edges) > 3
    )
    layout = board.layout
    producers = {r.name for region in board.space.regions for r in board.space.regions
                 if r.name in region.predecessors}  # fmt: skip
    p = next(p for p in layout.points_of("structure") if layout.space.points[p].region in producers)
    own = board.truth.region_ms[layout.region[p]]
    for row in [layout.default, *layout.encode(board.references())]:
        narrow = row.copy()
        narrow[p] = layout.options[p] - 1
        times = board.figure_ms(np.array([row, narrow]))
        assert times[1] < times[0]
        assert board.drop(narrow[None])[0] > board.drop(row[None])[0]
    narrow = layout.default.copy()
    narrow[p] = layout.options[p] - 1
    saved = np.subtract(*board.figure_ms(np.array([layout.default, narrow])))
    assert saved > 0.6 * own  # more than the kept share of its own time: its readers save, too


def structured_board(number):
    rng = np.random.default_rng([11, number])
    return SimulatedBoard(random_space(rng, structured=True), rng)


def test_widths_are_decided_beside_the_same_precisions():
    plain, structured = (random_space(np.random.default_rng(5), structured=s) for s in (False, True))
    added = [p for p in structured.points if p.family == "structure"]
    assert added
    assert [p for p in structured.points if p.family != "structure"] == list(plain.points)
    assert structured.regions == plain.regions
