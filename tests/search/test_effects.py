"""What a decision is predicted to bring is what the board says of it."""

from __future__ import annotations

import numpy as np
from mixed_truth import INT8, MixedTruth, trial_of

from edgeopt.search.effects import predicted


def test_effects_are_ranked_as_the_board_ranks_them_and_their_intervals_hold() -> None:
    truth, rng = MixedTruth(blocks=5), np.random.default_rng(0)
    tried = [truth.space.default(), truth.uniform(INT8), *(truth.mix(rng) for _ in range(20))]
    history = [trial_of(n, c, truth.latency_ms(c), drop=0.0001 * n) for n, c in enumerate(tried)]
    winner = tried[2]
    changes = winner.changes(truth.space.default())
    others = [truth.space.candidate(dict(winner.decisions) | {site: "float32"}) for site in changes]
    found = predicted(truth.context(history), winner, others)
    true = np.array([truth.latency_ms(winner) - truth.latency_ms(other) for other in others])
    latencies = [effects["latency"] for effects in found]
    assert np.corrcoef(true, [q.value for q in latencies])[0, 1] > 0.7
    inside = [q.low <= value <= q.high for q, value in zip(latencies, true, strict=True)]
    assert np.mean(inside) >= 0.8
    assert all(q.provenance == "predicted" for effects in found for q in effects.values())
    assert all("energy" not in effects for effects in found)


def test_nothing_differs_from_itself_and_accuracy_needs_data() -> None:
    truth = MixedTruth(blocks=3)
    history = [trial_of(n, c, truth.latency_ms(c)) for n, c in enumerate([truth.space.default()])]
    context = truth.context(history)
    (itself,) = predicted(context, truth.uniform(INT8), [truth.uniform(INT8)])
    assert abs(itself["latency"].value) < 1e-9
    assert itself["latency"].high - itself["latency"].low < 1e-3
    assert "drop" not in itself
