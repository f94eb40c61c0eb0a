"""What the comparison with other tools concludes from its figures."""

from typing import Any

import pytest

from benchmarks.rivals import compact, table

STUDY = {"verdict": "improved", "best": "trial 9", "trials": 12, "refused": {"int8-dynamic": "drops 0.4"}}


def row(p50_ms: float, drop: float = 0.0, size_bytes: int = 1000) -> dict[str, Any]:
    return {"p50_ms": p50_ms, "drop": drop, "score": 0.8 - drop, "size_bytes": size_bytes, "n": 500}


def model(ours: float, slim: float, *, drop: float = 0.0, noise: float = 0.01) -> dict[str, Any]:
    variants: dict[str, Any] = {
        "ORT all": row(10.0),
        "onnxslim": row(slim),
        "NNCF": row(2.0, drop=0.3),
        "ORT dynamic": {"failure": "it raised"},
        "edgeopt": row(ours, drop, 400),
    }
    ran = [name for name in variants if "p50_ms" in variants[name]]
    pairs = [(a, b) for i, b in enumerate(ran) for a in ran[i + 1 :]]
    ratios = {(a, b): variants[a]["p50_ms"] / variants[b]["p50_ms"] for a, b in pairs}
    compared = [
        {"a": a, "b": b, "ratio_p50": r, "ci95": [r * (1 - noise), r * (1 + noise)]}
        for (a, b), r in ratios.items()
    ]
    return {"subject": "magika", "variants": variants, "comparisons": compared, "load": 0.1, "study": STUDY}


def test_a_rival_that_loses_accuracy_is_no_rival() -> None:
    assert table.judged(model(5.0, 9.0))["best"] == "onnxslim"
    assert table.summary([model(5.0, 9.0)])["dropped_over_limit"] == {"NNCF": ["magika"]}


@pytest.mark.parametrize(("ours", "good"), [(5.0, 1), (9.2, 1), (9.4, 0)])
def test_best_or_within_three_percent(ours: float, good: int) -> None:
    found = table.summary([model(ours, 9.0)])
    assert found["best_or_equal"] == good
    assert found["faster"] == (ours == 5.0)


def test_an_exception_says_what_the_study_said() -> None:
    (why,) = table.summary([model(12.0, 9.0)])["exceptions"].values()
    assert "onnxslim takes 1/1.33 of its time" in why
    assert "int8-dynamic: drops 0.4" in why


def test_an_exception_within_the_noise_is_called_that() -> None:
    (why,) = table.summary([model(9.4, 9.0, noise=0.05)])["exceptions"].values()
    assert why == "within the noise of onnxslim (0.99 to 1.10)"


def test_a_winner_that_loses_accuracy_has_lost() -> None:
    found = table.summary([model(3.0, 9.0, drop=0.1)])
    assert found["best_or_equal"] == found["faster"] == 0
    assert found["fragile"]["magika"]["edgeopt"] == {"smaller": True, "not slower": True, "within 1 %": False}


def test_the_page_says_who_failed_and_why() -> None:
    document = {
        "machine": "x86_64", "onnxruntime": "1.28.0", "rivals": {"onnxslim": "0.1"}, "budget": "1 trials",
        "effort": "quick", "threads": 1, "scored_on": {"magika": "labels"}, "models": [model(5.0, 9.0)],
        "summary": table.summary([model(5.0, 9.0)]),
    }  # fmt: skip
    text = table.markdown(document)
    assert "| ORT dynamic | – | – | – | – | – | it raised |" in text
    assert "edgeopt is best or within 3 % at a drop of at most 1 % on 1 of 1 models." in text


def test_one_line_a_model_has_what_failed_and_what_was_lost() -> None:
    *_, line = compact.compact([model(5.0, 9.0)]).splitlines()
    cells = dict(zip(compact.TOOLS, line.split(" | ")[2:], strict=False))
    assert line.startswith("| magika | 10 | ")
    assert (cells["onnxslim"], cells["ORT dynamic"]) == ("0.90, 1.00", "fails")
    assert cells["NNCF"] == "0.20, 1.00 (−37.5 %)"
    assert "| 0.50, 0.40 |  |" in line
