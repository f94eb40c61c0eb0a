"""The gate: worse, no worse or undecided, by the interval of the growth and by what is allowed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.artifact import Artifact
from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError
from edgeopt.report.earlier import Earlier
from edgeopt.report.regression import Check, Condition, judge, overall

P50 = Condition("p50", 0.03)


def row(
    name: str = "a", p50: float | None = 10.0, spread: float | None = 0.01, **more: Any
) -> dict[str, Any]:
    """A measurement whose p50 has an interval of ± `spread` (relative); None is not known."""
    ends = None if p50 is None or spread is None else [p50 / (1 + spread), p50 * (1 + spread)]
    fields = {"name": name, "state": "COMPLETE", "latency_ms": {"p50": p50, "ci95": ends}, "size_bytes": 1000}
    return fields | more


def answer(*rows: dict[str, Any], provenance: str = "measured", **more: Any) -> dict[str, Any]:
    return {"device": "rpi4", "provenance": provenance, "measurements": list(rows)} | more


def one(now: dict[str, Any], before: dict[str, Any], condition: Condition = P50, **more: Any) -> Check:
    (check,) = judge(answer(now, **more), answer(before, **more), [condition])
    return check


@pytest.mark.parametrize(
    ("text", "figure", "growth"),
    [
        ("p50>+3%", "p50", 0.03), (" p95 > 10 % ", "p95", 0.1), ("peak_rss>+5%", "memory", 0.05),
        ("cold_start>0.5%", "cold-start", 0.005), ("size>+0%", "size", 0.0), ("energy>+8%", "energy", 0.08),
    ],
)  # fmt: skip
def test_conditions(text: str, figure: str, growth: float) -> None:
    assert Condition.parse(text) == Condition(figure, pytest.approx(growth))


@pytest.mark.parametrize("text", ["p50", "p50>3", "speed>3%", "p50<3%", "p50>-3%"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ConfigError, match="condition"):
        Condition.parse(text)


@pytest.mark.parametrize(
    ("p50", "spread", "verdict"),
    [
        (10.0, 0.01, "no worse"),
        (8.0, 0.05, "no worse"),
        (11.0, 0.01, "worse"),
        (10.5, 0.08, "undecided"),  # beyond what is allowed, within the noise
        (10.2, 0.005, "no worse"),  # beyond the noise, within what is allowed
        (10.2, 0.02, "undecided"),  # the noise reaches over what is allowed
        (10.0, 0.05, "undecided"),
    ],
)
def test_a_growth_is_judged_by_its_interval_and_by_what_is_allowed(
    p50: float, spread: float, verdict: str
) -> None:
    check = one(row(p50=p50, spread=spread), row(spread=spread))
    assert check.verdict == verdict
    assert check.ci95 is not None
    assert check.growth is not None
    assert check.ci95[0] <= check.growth <= check.ci95[1]


@given(st.floats(0.5, 2), st.floats(0.001, 0.3), st.floats(0.001, 0.3), st.floats(0, 0.5))
def test_a_wider_interval_never_turns_undecided_into_a_verdict(
    ratio: float, spread: float, wider: float, allowed: float
) -> None:
    condition = Condition("p50", allowed)
    narrow = one(row(p50=10 * ratio, spread=spread), row(), condition)
    wide = one(row(p50=10 * ratio, spread=spread + wider), row(), condition)
    assert wide.verdict in (narrow.verdict, "undecided")


def test_several_checks_widen_the_interval() -> None:
    now, before = answer(row("a"), row("b")), answer(row("b"), row("a"))
    alone = one(row(), row())
    several = judge(now, before, [P50, Condition("size", 0.01)])
    assert [check.name for check in several] == ["a", "a", "b", "b"]
    assert alone.ci95 is not None
    assert several[0].ci95 is not None
    assert several[0].ci95[1] > alone.ci95[1]


def test_of_few_processes_several_checks_widen_the_interval_by_student_s_t() -> None:
    """Ten checks of three processes: t of 2 degrees at 99.75 % is 3.3 times that at 97.5 %, no 1.4 times."""
    names = [str(n) for n in range(10)]
    reach = {}
    for processes in (2, 3, 8, None):
        rows = answer(*(row(name, processes=processes) for name in names))
        ends = judge(rows, rows, [P50])[0].ci95
        assert ends is not None
        reach[processes] = math.log1p(ends[1]) / (2**0.5 * math.log(1.01))
    assert reach[3] == pytest.approx(14.089 / 4.303, rel=1e-3)
    assert reach[8] == pytest.approx(4.029 / 2.365, rel=1e-3)
    assert reach[2] == pytest.approx(2.807 / 1.96, rel=1e-3)  # an interval that is not of its processes
    assert reach[None] == reach[3]  # an answer of before edgeopt wrote it down


def test_without_an_interval_it_is_undecided_and_says_on_which_side() -> None:
    assert one(row(), row(spread=None)).verdict == "undecided"
    assert "before" in str(one(row(), row(spread=None)).reason)
    assert "now" in str(one(row(spread=None), row()).reason)
    assert "not measured now" in str(one(row(p50=None), row()).reason)


def test_a_size_is_exact_and_needs_no_interval() -> None:
    size = Condition("size", 0.0)
    assert one(row(size_bytes=1000), row(), size).verdict == "no worse"
    assert one(row(size_bytes=1001), row(), size).verdict == "worse"


def test_a_model_that_does_not_run_any_more_is_worse() -> None:
    check = one(row(p50=None, state="FAILED", reason="ran out of memory on the board"), row())
    assert (check.verdict, "out of memory" in str(check.reason)) == ("worse", True)


def test_a_model_that_could_not_be_measured_for_noise_is_undecided() -> None:
    unsteady = row(
        p50=None, state="FAILED", failure="unsteady", reason="cannot be measured: it drifted by 9 %"
    )
    check = one(unsteady, row())
    assert (check.verdict, check.reason) == ("undecided", "cannot be measured: it drifted by 9 %")


def test_figures_of_a_model_have_its_pairwise_error() -> None:
    same = {"sha256": "x", "runtime": "onnxruntime", "session_options": {"threads": 1}}
    emulated = {"provenance": "emulated", "pairwise_error": 0.1}
    assert one(row(**same), row(**same), **emulated).verdict == "no worse", "the same file costs the same"
    assert one(row(p50=10.4, **same), row(**same), **emulated).verdict == "worse", "and repeats to 0.1 %"
    other = same | {"sha256": "y"}
    assert one(row(p50=10.4, **other), row(**same), **emulated).verdict == "undecided"
    assert one(row(p50=14.0, **other), row(**same), **emulated).verdict == "worse"
    assert one(row(p50=7.0, **other), row(**same), **emulated).verdict == "no worse"
    unsure = one(row(p50=10.4, **other), row(**same), **emulated)
    assert "the model's error" in str(unsure.reason)
    memory = Condition("memory", 0.05)
    held = one(row(peak_rss_bytes=104, **other), row(peak_rss_bytes=100, **same), memory, **emulated)
    assert held.verdict == "no worse", "memory is counted, not modelled"


def test_worse_goes_before_undecided_before_no_worse() -> None:
    good, bad, unsure = one(row(), row()), one(row(p50=20.0), row()), one(row(spread=0.1), row())
    assert overall([good, unsure, bad]) == "worse"
    assert overall([good, unsure]) == "undecided"
    assert overall([good]) == "no worse"


def stored(folder: Path, document: Any) -> Earlier:
    file = folder / "main.json"
    file.write_text(json.dumps(document))
    return Earlier.read(file)


@pytest.mark.parametrize("document", [{}, [], {"measurements": 3}, {"measurements": [{"p50": 3}]}])
def test_another_file_is_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(ConfigError, match=r"main\.json is not the answer of edgeopt measure"):
        stored(tmp_path, document)


@pytest.mark.parametrize(
    "damage",
    [
        {"latency_ms": {"p50": math.nan}}, {"latency_ms": {"p50": math.inf}}, {"latency_ms": {"p50": -1.0}},
        {"latency_ms": {"p50": "3"}}, {"latency_ms": {"p50": 10**400}}, {"latency_ms": "fast"},
        {"intervals": {"p50": [5.0, 1.0]}}, {"intervals": {"p50": [math.nan, 1.0]}},
        {"intervals": {"p50": "ab"}}, {"intervals": {"p50": [1.0]}}, {"processes": "many"},
        {"processes": math.nan},
    ],
)  # fmt: skip
def test_figures_that_no_measurement_wrote_are_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    before = stored(tmp_path, answer(row(**damage)))
    with pytest.raises(ConfigError, match="is damaged: the p50 of a"):
        before.require_figures(["a"], [P50])


@pytest.mark.parametrize(
    "text", ["[" * 100_000 + "]" * 100_000, '{"measurements": [{"name": []}], "device": 0}']
)
def test_a_file_that_breaks_the_reader_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "main.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not the answer of edgeopt measure"):
        Earlier.read(path)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    options = {"threads": 1}
    ran = row(runtime="onnxruntime", session_options=options, conditions="bench", energy_source="meter")
    earlier = stored(tmp_path, answer(ran))
    artifact = Artifact("k", Path("a.onnx"), "s", 1, "onnxruntime", dict(options))
    earlier.require_device("rpi4")
    earlier.require_setting(Setting("app", rate_hz=30))  # of before edgeopt wrote it down
    with pytest.raises(ConfigError, match=r"setting was app \(30/s\), is app \(30/s, load 50%\)"):
        stored(tmp_path, answer(ran, setting="app (30/s)")).require_setting(Setting("app", 30, 0.5))
    earlier = stored(tmp_path, answer(ran))
    earlier.require_board("measured", {"a": artifact})
    earlier.require_alike(answer(ran), [Condition("energy", 0.1)])
    with pytest.raises(ConfigError, match="device was rpi4, is rpi5"):
        earlier.require_device("rpi5")
    with pytest.raises(ConfigError, match="provenance was measured, is emulated"):
        earlier.require_board("emulated", {"a": artifact})
    litert = Artifact("k", Path("a.tflite"), "s", 1, "litert", dict(options))
    with pytest.raises(ConfigError, match="the runtime of a was onnxruntime, is litert"):
        earlier.require_board("measured", {"a": litert})
    four = Artifact("k", Path("a.onnx"), "s", 1, "onnxruntime", {"threads": 4})
    with pytest.raises(ConfigError, match="how a is run was threads 1, is threads 4"):
        earlier.require_board("measured", {"a": four})
    with pytest.raises(ConfigError, match="conditions of a was bench, is sustained"):
        earlier.require_alike(answer(ran | {"conditions": "sustained"}), [P50])
    with pytest.raises(ConfigError, match="energy of a comes from was meter, is model"):
        earlier.require_alike(answer(ran | {"energy_source": "model"}), [Condition("energy", 0.1)])
    earlier.require_alike(answer(ran | {"energy_source": "model"}), [P50])


def test_unknown_models_and_figures_are_refused_with_those_that_exist(tmp_path: Path) -> None:
    earlier = stored(tmp_path, answer(row("a"), row("b", p50=None)))
    earlier.require_names(["a", "b"])
    with pytest.raises(ConfigError, match="nothing of c, d") as caught:
        earlier.require_names(["a", "c", "d"])
    assert "it has a, b" in str(caught.value.hint)
    earlier.require_figures(["a"], [P50])
    with pytest.raises(ConfigError, match="does not know the p50 of b"):
        earlier.require_figures(["a", "b"], [P50])


def test_what_may_explain_a_difference_is_said(tmp_path: Path) -> None:
    before = answer(row(), board="kitchen", effort="normal", system={"runtimes": {"onnxruntime": "1.27.0"}})
    now = answer(row(), board="garage", effort="normal", system={"runtimes": {"onnxruntime": "1.28.0"}})
    assert stored(tmp_path, before).notes(now) == [
        "board: kitchen before, garage now",
        "runtimes: onnxruntime 1.27.0 before, onnxruntime 1.28.0 now",
    ]
    assert stored(tmp_path, now).notes(now) == []
