from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.report import figures, headline
from tests.report import made_up


@pytest.fixture
def document() -> dict[str, Any]:
    return made_up.result(made_up.study())


def test_the_verdict_names_factor_interval_and_best_recipe(document: dict[str, Any]) -> None:
    document["comparisons"][0] |= {"ratio_p50": 0.5, "ci95": [0.4, 0.625]}
    assert "2.00× faster than the original (95 %: 1.60–2.50)" in headline.verdict(document)
    assert "the best recipe, int8 static per-channel" in headline.verdict(document)


def test_what_a_model_cannot_tell_apart_is_called_a_tie() -> None:
    document = made_up.result(made_up.study("emulated"), "emulated") | {"pairwise_error": 0.1}
    best, original = document["best"], document["baseline"]
    best["latency_ms"]["p50"] = original["latency_ms"]["p50"] * 0.95
    assert headline.is_tie(document, best, original, "latency")
    assert "a tie with the original: 1.05×, closer than the model's error" in headline.verdict(document)
    best["latency_ms"]["p50"] = original["latency_ms"]["p50"] * 0.5
    assert not headline.is_tie(document, best, original, "latency")
    assert "2.00× faster than the original (model error: 1.82–2.20)" in headline.verdict(document)
    assert headline.ratio(document, best, original, "size")[1] is None


def test_what_was_not_measured_promises_nothing() -> None:
    document = made_up.result(made_up.study("emulated"), "emulated")
    assert "never worse is promised for measured ones only" in str(headline.promise(document))
    assert headline.promise(made_up.result(made_up.study())) is None
    document["accuracy"]["verified_on"] = "board"
    assert "verified on the virtual board" in headline.accuracy(document)


def test_a_kept_reference_or_original_is_no_improvement(document: dict[str, Any]) -> None:
    document |= {"verdict": "reference", "best": document["references"][0]}
    assert "The well-known recipe int8 static per-channel is kept" in headline.verdict(document)
    document |= {"verdict": "original", "best": document["baseline"]}
    assert "The original is kept" in headline.verdict(document)


def test_the_best_recipe_is_one_that_kept_the_constraint(document: dict[str, Any]) -> None:
    document["references"][0]["state"] = "INFEASIBLE"
    best = headline.best_reference(document, "latency")
    assert best is not None
    assert best["name"] == "int8 dynamic"


def test_an_objective_that_is_not_time_is_said_in_its_own_words(document: dict[str, Any]) -> None:
    document["best"]["size_bytes"] = 3_500_000
    assert "4.00× smaller than the original" in headline.verdict(document, "size")


def test_a_drop_is_always_said_to_be_absolute_or_relative(document: dict[str, Any]) -> None:
    text = headline.accuracy(document, 0.94)
    assert "drop +0.0031 absolute (+0.33% relative)" in text
    assert "95 % upper bound +0.0077 absolute" in text
    document["accuracy"] |= {"status": "not established", "verified_on": None, "basis": "agreement"}
    text = headline.accuracy(document)
    assert text.startswith("Accuracy not established")
    assert "agreement" in text
    assert "not verified on the board" in text


@given(st.floats(1e-6, 1e9))
def test_times_have_three_digits_and_no_exponent(value: float) -> None:
    text = figures.ms(value)
    assert text.endswith(" ms")
    assert float(text[:-3]) == pytest.approx(value, rel=0.006)


def test_unknown_is_a_dash() -> None:
    assert {figures.ms(None), figures.size(None), figures.factor(None), figures.percent(None)} == {"–"}
