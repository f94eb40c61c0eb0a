import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import OBJECTIVES, Limits, MaxDrop, Objective, ObjectiveName
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Accuracy, Trial

ARTIFACT = Artifact("key", Path("/m.onnx"), "sha", size_bytes=1000)


def measured(ms: float = 10.0, **known: object) -> Measurement:
    return Measurement(Quantity(ms, "ms", ms, ms, "measured", "clock"), **known)  # type: ignore[arg-type]


def judged(drop: float | None) -> Accuracy:
    return Accuracy(0.9, drop, None, 100, "labels", "search")


@given(st.floats(0, 1e6, allow_nan=False))
def test_a_percentage_is_relative_and_a_number_absolute(value: float) -> None:
    assert MaxDrop.parse(f"{value!r}%") == MaxDrop(value / 100, relative=True)
    assert MaxDrop.parse(f" {value!r} ") == MaxDrop(value, relative=False)


@given(st.text(max_size=8))
def test_any_other_text_is_wrong_usage(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert 0 <= MaxDrop.parse(text).value < float("inf")


@pytest.mark.parametrize("text", ["", "%", "one", "-1%", "nan", "inf", "1%%x", "nan%"])
def test_what_is_no_drop_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        MaxDrop.parse(text)


def test_a_drop_says_which_kind_it_is() -> None:
    assert MaxDrop.parse("1%").allowed(0.5) == pytest.approx(0.005)
    assert MaxDrop.parse("0.01").allowed(0.5) == 0.01
    assert "of the original" in str(MaxDrop.parse("1%"))
    assert "absolute" in str(MaxDrop.parse("0.01"))


def test_a_negated_error_as_score_allows_a_drop_too() -> None:
    assert MaxDrop.parse("10%").allowed(-2.0) == pytest.approx(0.2)


def test_the_last_sample_allowed_passes_and_the_next_does_not() -> None:
    objective = Objective(max_drop=MaxDrop(0.01, relative=False))
    assert objective.accuracy_violation(judged(0.9 - 0.89), 0.9) is None
    assert "drops by 0.02, 0.01 is" in str(objective.accuracy_violation(judged(0.02), 0.9))


def test_without_data_accuracy_breaks_nothing() -> None:
    assert Objective().accuracy_violation(None, None) is None
    assert Objective().accuracy_violation(judged(None), 0.9) is None


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_that_was_not_measured_is_unknown(name: ObjectiveName) -> None:
    value = Objective(name).value(measured(), ARTIFACT)
    assert value == {"latency": 10.0, "size": 1000.0}.get(name)


def test_drift_corrects_times_and_nothing_else() -> None:
    slow = measured(10.0, drift=1.25, peak_rss_bytes=500)
    assert Objective("latency").value(slow, ARTIFACT) == 8.0
    assert Objective("memory").value(slow, ARTIFACT) == 500


def test_limits_name_what_is_over() -> None:
    objective = Objective(limits=Limits(max_latency_ms=5, max_size_bytes=999))
    assert objective.limit_violation(measured(10.0)) == "latency 10 ms is over the limit of 5 ms"
    assert "over the limit of 999 bytes" in str(objective.size_violation(ARTIFACT))
    assert objective.limit_violation(measured(5.0)) is None


def test_a_limit_on_what_the_board_cannot_tell_is_not_met() -> None:
    objective = Objective(limits=Limits(max_power_w=3))
    assert "cannot tell" in str(objective.limit_violation(measured()))


def test_only_complete_trials_have_an_objective() -> None:
    candidate = Candidate.of("m", {})
    complete = Trial(0, candidate, "COMPLETE", artifact=ARTIFACT, measurement=measured())
    broken = Trial(1, candidate, "INFEASIBLE", artifact=ARTIFACT, measurement=measured())
    assert Objective().of_trial(complete) == 10.0
    assert Objective().of_trial(broken) is None


def test_a_tiny_drop_is_not_shown_as_zero() -> None:
    objective = Objective(max_drop=MaxDrop.parse("0.00001"))
    reason = objective.accuracy_violation(Accuracy(0.9, 0.00002, None, 100, "labels", "search"), 0.9)
    assert reason == "accuracy drops by 2e-05, 1e-05 is allowed (n = 100)"


def original(state: str = "COMPLETE", rss_bytes: float | None = 1e8) -> Trial:
    measurement = measured(peak_rss_bytes=rss_bytes)
    return Trial(0, Candidate.of("m", {}), state, "baseline", "original", ARTIFACT, measurement)  # type: ignore[arg-type]


def test_who_needs_much_more_memory_or_is_much_larger_cannot_win_and_is_told_why() -> None:
    assert Objective().ceilings(original()) == {"memory": 1.05e8, "size": 1050.0}
    assert Objective().regression("memory", 1.05e8, original()) is None
    assert Objective().regression("memory", 1.41e8, original()) == (
        "memory is 41% worse than the original's (--allow-worse memory)"
    )


def test_unless_that_is_allowed_or_what_is_asked_for_or_the_original_cannot_stay() -> None:
    assert Objective(allow_worse=("memory",)).ceilings(original()) == {"size": 1050.0}
    slower = {"latency": pytest.approx(10 * 1.05**2)}
    assert Objective("size").ceilings(original()) == slower | {"memory": 1.05e8}
    assert Objective("size", allow_worse=("latency", "memory")).ceilings(original()) == {}
    assert "latency is 20% worse" in str(Objective("size").regression("latency", 12.0, original()))
    assert Objective().ceilings(original(rss_bytes=None)) == {"size": 1050.0}
    assert Objective().ceilings(original("INFEASIBLE")) == Objective().ceilings(None) == {}
    assert Objective().regression("memory", None, original()) is None
