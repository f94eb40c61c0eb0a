import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

from edgeopt.data.bounds import (
    bootstrap_upper,
    needed_by_width,
    t_upper,
    tango_needed,
    tango_upper,
    unseen_upper,
)


@pytest.mark.parametrize(("lost", "gained", "n"), [(12, 2, 80), (3, 0, 200), (5, 9, 300), (40, 30, 100)])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
def test_at_tangos_bound_the_score_test_just_rejects(lost: int, gained: int, n: int, alpha: float) -> None:
    bound = tango_upper(lost, gained, n, alpha)

    # The definition, not the closed form: maximise the multinomial likelihood under the bound, then the z
    # statistic of the drop with the variance of that model.
    def unlikelihood(gain: float) -> float:
        loss = gain + bound
        seen = lost * math.log(loss) + (n - lost - gained) * math.log(max(1e-300, 1 - loss - gain))
        return -seen - (gained * math.log(gain) if gained else 0)

    least = max(0.0, -bound) + 1e-12
    gain = minimize_scalar(
        unlikelihood, bounds=(least, (1 - bound) / 2 - 1e-12), method="bounded", options={"xatol": 1e-12}
    ).x
    variance = n * (2 * gain + bound - bound**2)
    z = (lost - gained - n * bound) / math.sqrt(variance)
    assert z == pytest.approx(-NormalDist().inv_cdf(1 - alpha), abs=2e-3)


@pytest.mark.parametrize(("n", "alpha"), [(100, 0.05), (1000, 0.01)])
def test_no_difference_at_all_still_leaves_a_doubt(n: int, alpha: float) -> None:
    z = NormalDist().inv_cdf(1 - alpha)
    assert tango_upper(0, 0, n, alpha) == pytest.approx(z * z / (n + z * z))  # Tango's closed form


def test_the_bound_grows_with_losses_and_shrinks_with_samples() -> None:
    bounds = [tango_upper(lost, 2, 500, 0.05) for lost in range(0, 500, 50)]
    assert bounds == sorted(bounds)
    assert tango_upper(10, 5, 1000, 0.05) > tango_upper(100, 50, 10000, 0.05)
    assert tango_upper(500, 0, 500, 0.05) == pytest.approx(1)
    assert -1 < tango_upper(0, 500, 500, 0.05) < -0.9


def covered(rng: np.random.Generator, loss: float, gain: float, n: int, times: int) -> float:
    lost, gained, _ = rng.multinomial(n, [loss, gain, 1 - loss - gain], times).T
    return float(
        np.mean([tango_upper(b, c, n, 0.05) >= loss - gain for b, c in zip(lost, gained, strict=True)])
    )


@pytest.mark.parametrize(("loss", "gain", "n"), [(0.03, 0.02, 300), (0.02, 0.01, 1000), (0.05, 0.05, 100)])
def test_tangos_bound_covers_the_true_drop_in_95_of_100_studies(loss: float, gain: float, n: int) -> None:
    coverage = covered(np.random.default_rng(0), loss, gain, n, 1500)
    assert 0.935 <= coverage <= 0.985  # the binomial error of 1500 studies is 0.006


def test_students_bound_covers_the_true_drop() -> None:
    rng = np.random.default_rng(0)
    hits = [t_upper(rng.normal(0.01, 0.05, 40), 0.05, 1.0) >= 0.01 for _ in range(1500)]
    assert 0.935 <= np.mean(hits) <= 0.965


def test_students_bound_is_scipys() -> None:
    values = np.array([0.1, 0.0, 0.3, -0.1])
    wanted = student.ppf(0.95, 3, loc=values.mean(), scale=values.std(ddof=1) / 2)
    assert t_upper(values, 0.05, 1.0) == pytest.approx(wanted)


def test_values_without_variance_hide_what_was_never_drawn() -> None:
    assert t_upper(np.zeros(300), 0.05, 1.0) == pytest.approx(3 / 300, rel=0.01)  # the rule of three
    assert t_upper(np.zeros(1), 0.05, 1.0) == pytest.approx(0.95)
    assert unseen_upper(0.2, 300, 0.05, 0.5) == pytest.approx(0.2 + 1.5 / 300, rel=0.01)


def test_the_bootstrap_covers_the_true_drop_and_knows_its_groups() -> None:
    rng = np.random.default_rng(0)
    groups, size, studies = 25, 8, 120
    hits, naive = 0, 0
    for study in range(studies):
        of_group = rng.normal(0.02, 0.05, groups)
        values = (of_group[:, None] + rng.normal(0, 0.02, (groups, size))).mean(axis=1)
        drop_of = lambda chosen, values=values: float(values[chosen].mean())  # noqa: E731
        hits += bootstrap_upper(drop_of, groups, 0.05, study, 1.0) >= 0.02
        flat = np.repeat(values, size)  # as if all samples were independent
        naive += t_upper(flat, 0.05, 1.0) >= 0.02
    assert hits / studies >= 0.90  # 0.95 with a binomial error of 0.02
    assert naive < hits


def test_the_bootstrap_is_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(size=30)
    bounds = [bootstrap_upper(lambda c: float(values[c].mean()), 30, 0.05, seed, 1.0) for seed in (1, 1, 2)]
    assert bounds[0] == bounds[1] != bounds[2]
    assert bounds[0] == pytest.approx(t_upper(values, 0.05, 1.0), rel=0.25)


def test_a_bootstrap_that_sees_no_spread_stays_in_doubt() -> None:
    assert bootstrap_upper(lambda _: 0.0, 20, 0.05, 0, 1.0) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert bootstrap_upper(lambda _: 0.1, 1, 0.05, 0, 1.0) == pytest.approx(1.05)
    undefined = iter([0.0] + [float("nan")] * 10**4)
    assert bootstrap_upper(lambda _: next(undefined), 20, 0.05, 0, 1.0) > 0.1


@pytest.mark.parametrize(
    ("lost", "gained", "n", "allowed"), [(6, 3, 500, 0.01), (0, 0, 100, 0.01), (2, 8, 50, 0.005)]
)
def test_the_needed_samples_are_the_least_that_suffice(
    lost: int, gained: int, n: int, allowed: float
) -> None:
    needed = tango_needed(lost, gained, n, 0.05, allowed)
    assert needed is not None
    for samples, enough in ((needed, True), (needed - 1, False)):
        bound = tango_upper(lost * samples / n, gained * samples / n, samples, 0.05)
        assert (bound <= allowed) is enough


def test_no_number_of_samples_establishes_a_drop_that_is_too_large() -> None:
    assert tango_needed(10, 0, 500, 0.05, 0.01) is None
    assert needed_by_width(500, 0.02, 0.05, 0.02) is None
    assert needed_by_width(500, 0.0, 0.02, 0.01) == 2000
