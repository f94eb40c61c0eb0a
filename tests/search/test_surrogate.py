"""The surrogate ranks mixed-precision candidates from a dozen measurements, because it prices boundaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mixed_truth import INT8, MixedTruth, trial_of
from scipy.stats import spearmanr

from edgeopt.core.objective import Limits, MaxDrop, Objective
from edgeopt.search.accuracy import AccuracyModel
from edgeopt.search.figure import FigureModel
from edgeopt.search.layout import Layout
from edgeopt.search.prior import region_shares
from edgeopt.search.surrogate import Surrogate


def fitted(seed: int, boundaries: bool = True, tables: bool = False):
    """A model of 2 references and 10 mixes, and 200 mixes that it has not seen with their true log ms."""
    truth, rng = MixedTruth(seed=seed), np.random.default_rng(seed + 100)
    seen = [truth.uniform("float32"), truth.uniform(INT8), *(truth.mix(rng) for _ in range(10))]
    held = [truth.mix(rng) for _ in range(200)]
    noise = np.exp(rng.normal(0, 0.01, len(seen)))
    layout = Layout(truth.space)
    model = FigureModel(layout, "latency", truth.option_ms if tables else {}, boundaries)
    model.fit(
        layout.encode(seen), np.array([truth.latency_ms(c) for c in seen]) * noise, np.full(len(seen), 0.01)
    )
    return model, layout.encode(held), np.log([truth.latency_ms(c) for c in held])


def test_the_truth_is_like_mobilenet():
    truth, rng = MixedTruth(), np.random.default_rng(0)
    mixes = [truth.latency_ms(truth.mix(rng)) for _ in range(200)]
    assert truth.latency_ms(truth.uniform("float32")) == pytest.approx(8.0)
    assert truth.latency_ms(truth.uniform(INT8)) == pytest.approx(3.8)
    assert max(mixes) > 10


@pytest.mark.parametrize("tables", [False, True])
def test_boundaries_make_the_ranking_right_and_adding_up_layers_does_not(tables):
    with_boundaries, additive = [], []
    for seed in range(5):
        for boundaries, scores in ((True, with_boundaries), (False, additive)):
            model, held, logs = fitted(seed, boundaries, tables)
            scores.append(spearmanr(model.predict(held)[0], logs).statistic)
    assert min(with_boundaries) > 0.9
    assert np.mean(additive) < 0.7


def test_the_uncertainty_is_calibrated():
    inside = []
    for seed in range(5):
        model, held, logs = fitted(seed)
        mean, deviation = model.predict(held)
        inside.append(np.abs(logs - model.reference - mean) < 2 * deviation)
    assert np.mean(inside) > 0.85
    assert np.mean(deviation) < 0.3  # and not by being uncertain of everything


def test_a_measured_candidate_is_predicted_as_measured():
    truth, rng = MixedTruth(), np.random.default_rng(3)
    candidates = [truth.uniform("float32"), *(truth.mix(rng) for _ in range(12))]
    history = [trial_of(i, c, truth.latency_ms(c)) for i, c in enumerate(candidates)]
    surrogate = Surrogate(Layout(truth.space), truth.context(history))
    mean, deviation = surrogate.predict(surrogate.codes)
    assert np.abs(mean - surrogate.logs).max() < 0.05
    unseen = surrogate.predict(surrogate.layout.encode([truth.mix(rng)]))[1]
    assert deviation.max() < unseen.max()


def test_it_is_sane_before_any_measurement():
    truth = MixedTruth()
    surrogate = Surrogate(Layout(truth.space), truth.context([]))
    codes = surrogate.layout.encode([truth.space.default(), truth.mix(np.random.default_rng(0))])
    mean, deviation = surrogate.predict(codes)
    assert mean[0] == pytest.approx(0.0)
    assert np.isfinite(mean).all()
    assert deviation[1] > deviation[0]
    assert surrogate.incumbent() is None


def test_profiles_of_uniform_models_inform_the_prior():
    truth = MixedTruth()
    layout = Layout(truth.space)
    int8 = layout.encode([truth.uniform(INT8)])
    informed, _ = FigureModel(layout, "latency", truth.option_ms).predict(int8)
    assert np.exp(informed[0]) == pytest.approx(3.8 / 8.0, rel=0.01)


def test_repeated_blocks_share_what_is_learned():
    truth = MixedTruth()
    layout = Layout(truth.space)
    model = FigureModel(layout, "latency")
    first = truth.space.regions[0]
    twin = next(r for r in truth.space.regions[1:] if r.pattern == first.pattern)
    other = next(r for r in truth.space.regions if r.pattern != first.pattern)
    base = truth.space.default()
    slow = truth.space.candidate({f"precision@{first.name}": INT8})
    codes = layout.encode([base, slow])
    sites = [point.site for point in truth.space.points]
    before, _ = model.option_prices()
    model.fit(codes, np.array([8.0, 12.0]), np.array([0.01, 0.01]))
    change = model.option_prices()[0] - before
    shares = dict(zip(truth.by_name, region_shares(layout, "latency", {}), strict=True))
    relative = {
        r.name: change[sites.index(f"precision@{r.name}"), 1] / shares[r.name] for r in (first, twin, other)
    }
    assert relative[first.name] > relative[twin.name] > 1.2 * relative[other.name] > 0


def test_threads_multiply_instead_of_adding():
    truth, rng = MixedTruth(), np.random.default_rng(5)
    candidates = [truth.uniform("float32"), truth.uniform(INT8), *(truth.mix(rng) for _ in range(8))]
    one = [truth.space.candidate(dict(c.decisions) | {"runtime:threads": "1"}) for c in candidates[2:5]]
    layout = Layout(truth.space)
    model = FigureModel(layout, "latency")
    known = candidates + one
    model.fit(layout.encode(known), np.array([truth.latency_ms(c) for c in known]), np.full(len(known), 0.01))
    pair = [truth.uniform(INT8), truth.space.candidate(
        dict(truth.uniform(INT8).decisions) | {"runtime:threads": "1"}
    )]  # fmt: skip
    fast, slow = model.predict(layout.encode(pair))[0]
    assert np.exp(slow - fast) == pytest.approx(1.6, rel=0.1)


def test_the_drop_is_learned_from_infeasible_trials_too_and_never_negative():
    truth, rng = MixedTruth(), np.random.default_rng(2)
    layout = Layout(truth.space)
    sensitive = truth.space.regions[4].name

    def drop(candidate):
        return 0.03 * (candidate.chosen(f"precision@{sensitive}") == INT8)

    seen = [truth.uniform("float32"), truth.uniform(INT8), *(truth.mix(rng) for _ in range(12))]
    model = AccuracyModel(layout, 0.01)
    model.fit(layout.encode(seen), np.array([drop(c) for c in seen]), np.full(len(seen), 5000.0))
    drops, _ = model.option_drops()
    assert drops.min() >= 0
    site = [point.site for point in truth.space.points].index(f"precision@{sensitive}")
    assert drops[site, 1] == drops.max()
    without = truth.space.candidate(
        dict(truth.uniform(INT8).decisions) | {f"precision@{sensitive}": "float32"}
    )
    mean, deviation = model.predict(layout.encode([truth.uniform(INT8), without]))
    assert mean[0] > mean[1]
    assert (deviation > 0).all()


def test_feasibility_uses_accuracy_and_limits():
    truth, rng = MixedTruth(), np.random.default_rng(4)
    candidates = [truth.uniform("float32"), truth.uniform(INT8), *(truth.mix(rng) for _ in range(10))]
    history = [
        trial_of(i, c, truth.latency_ms(c), drop=0.05 if c == truth.uniform(INT8) else 0.0)
        for i, c in enumerate(candidates)
    ]
    objective = Objective("size", MaxDrop(0.01, relative=False), Limits(max_latency_ms=8.5))
    context = truth.context(history, objective=objective, original_score=lambda: 0.9)
    surrogate = Surrogate(Layout(truth.space), context)
    slowest = max(candidates[2:], key=truth.latency_ms)
    codes = surrogate.layout.encode([truth.space.default(), truth.uniform(INT8), slowest])
    default, lossy, slow = surrogate.feasibility(codes)
    assert default > 0.9
    assert lossy < 0.2
    assert slow < 0.2


@pytest.mark.parametrize("allowed", [False, True])
def test_what_would_need_much_more_memory_than_the_original_is_not_feasible(allowed):
    """Static int8 needs twice as much: learned from whoever was measured, like a limit that was asked for."""
    truth, rng = MixedTruth(), np.random.default_rng(5)
    candidates = [truth.uniform("float32"), truth.uniform(INT8), *(truth.mix(rng) for _ in range(10))]
    history = []
    for number, candidate in enumerate(candidates):
        trial = trial_of(number, candidate, truth.latency_ms(candidate))
        share = sum(option == INT8 for _, option in candidate.decisions) / len(truth.regions)
        measurement = replace(trial.measurement, peak_rss_bytes=1e8 * (1 + share))
        history.append(replace(trial, measurement=measurement, kind="candidate" if number else "baseline"))
    objective = Objective(allow_worse=("memory",) if allowed else ())
    surrogate = Surrogate(Layout(truth.space), truth.context(history, objective=objective))
    default, int8 = surrogate.feasibility(surrogate.layout.encode(candidates[:2]))
    assert default > 0.9
    assert (int8 > 0.9) if allowed else (int8 < 0.1)


def test_noise_tells_the_sensitive_region_before_any_trial_and_its_price_is_learned():
    truth, rng = MixedTruth(), np.random.default_rng(3)
    layout = Layout(truth.space)
    names = [region.name for region in truth.space.regions]
    noise = {INT8: dict.fromkeys(names, 1e-4) | {names[4]: 0.5}}
    model = AccuracyModel(layout, 0.01, noise)
    site = [point.site for point in truth.space.points].index(f"precision@{names[4]}")
    drops, _ = model.option_drops()
    assert drops[site, 1] == drops.max() > 0.01
    assert np.median(drops[drops > 0]) < 0.001

    def drop(candidate):  # a tenth of what was expected of noise
        return 0.1 * drops[site, 1] * (candidate.chosen(f"precision@{names[4]}") == INT8)

    seen = [truth.uniform("float32"), truth.uniform(INT8), *(truth.mix(rng) for _ in range(6))]
    model.fit(layout.encode(seen), np.array([drop(c) for c in seen]), np.full(len(seen), 5000.0))
    learned, _ = model.option_drops()
    assert learned[site, 1] == pytest.approx(0.1 * drops[site, 1], rel=0.5)
