"""Every two models are compared, with a correction for how many comparisons are made."""

from __future__ import annotations

from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Provenance, Quantity
from edgeopt.report.comparing import comparisons

ROUNDS = (1.0, 1.02, 0.99, 1.01, 1.0)
NOISE = ((1.0, 1.01, 0.99, 1.0, 1.0), (1.0, 1.0, 1.01, 0.99, 1.0), (0.99, 1.0, 1.0, 1.0, 1.01))


def measured(
    p50: float, noise: tuple[float, ...] = ROUNDS, provenance: Provenance = "measured"
) -> Measurement:
    rounds = (
        tuple(p50 * a * b for a, b in zip(ROUNDS, noise, strict=True)) if provenance == "measured" else ()
    )
    return Measurement(Quantity(p50, "ms", p50, p50, provenance, "clock"), process_p50_ms=rounds)


def test_three_models_make_three_comparisons_those_with_the_control_first() -> None:
    results = [measured(p50, noise) for p50, noise in zip((10.0, 5.0, 5.02), NOISE, strict=True)]
    found = comparisons(["a", "b", "c"], results, 0.0)
    assert [(row["a"], row["b"]) for row in found] == [("b", "a"), ("c", "a"), ("c", "b")]
    assert [row["significant"] for row in found] == [True, True, False]
    assert not any(row["tie"] for row in found)


def test_more_comparisons_widen_the_interval() -> None:
    two = comparisons(["a", "b"], [measured(10, NOISE[0]), measured(5, NOISE[1])], 0.0)[0]["ci95"]
    three = [measured(10, NOISE[0]), measured(5, NOISE[1]), measured(5, NOISE[2])]
    first = comparisons(["a", "b", "c"], three, 0.0)[0]["ci95"]
    assert first[0] < two[0] < two[1] < first[1]


def test_figures_of_a_model_are_a_tie_within_its_error() -> None:
    emulated = [measured(p50, provenance="emulated") for p50 in (10.0, 10.5, 20.0)]
    found = comparisons(["a", "b", "c"], emulated, 0.1)
    assert [row["tie"] for row in found] == [True, False, False]
    assert [row["significant"] for row in found] == [False, True, True]


def test_a_model_that_did_not_run_is_in_no_comparison_and_one_process_tells_no_difference() -> None:
    single = Measurement(Quantity(5, "ms", 5, 5, "measured", "clock"), process_p50_ms=(5.0,))
    found = comparisons(["a", "b", "c"], [single, CandidateFailed("x"), single], 0.0)
    assert [(row["a"], row["b"], row["significant"], row["ci95"]) for row in found] == [
        ("c", "a", None, None)
    ]
