from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.objective import Limits, MaxDrop, Objective
from edgeopt.report.context import Evidence, ReportContext, read_evidence, thin
from edgeopt.report.document import trial_document
from edgeopt.report.export import as_csv
from edgeopt.report.ratio import paired_ratio
from edgeopt.report.strip import cells, whole_model
from tests.report import made_up

FIELDS = {
    "name", "trial", "kind", "state", "stage", "reason", "runtime", "session_options", "artifact", "sha256",
    "size_bytes", "latency_ms", "cold_start_ms", "peak_rss_bytes", "model_rss_bytes", "power_w", "energy_mj",
    "energy_source", "energy_ci95", "net_energy_mj", "energy_note",
    "cpu_utilization", "roofline_fraction", "accuracy", "drop", "provenance", "conditions",
    "decisions",
}  # fmt: skip


def test_a_trial_has_every_field_of_the_contract_in_any_state() -> None:
    for trial in made_up.study():
        document = trial_document(trial)
        assert set(document) == FIELDS | {
            "latency_source",  # what of a modelled time is unverified
            "latency_note", "contended",  # whether others had the core, too
            "interface",  # inputs that it takes otherwise than the original
        }  # fmt: skip
        assert set(document["latency_ms"]) == {"p50", "p90", "p95", "p99", "ci95", "n"}
        json.dumps(document, allow_nan=False)
        assert Path(document["artifact"]).is_absolute()


def test_what_is_not_known_is_null_never_zero() -> None:
    failed = trial_document(made_up.trial(1, {}, 1.0, 0.0, 10, state="FAILED", reason="crashed"))
    assert failed["latency_ms"] == {"p50": None, "p90": None, "p95": None, "p99": None, "ci95": None, "n": 0}
    assert failed["peak_rss_bytes"] is None
    assert failed["provenance"] is None
    predicted = trial_document(made_up.trial(1, {}, 1.0, 0.0, 10, provenance="predicted"))
    assert predicted["latency_ms"]["p95"] is None
    assert predicted["cold_start_ms"] is None


def test_only_changes_are_given_when_the_default_is_known() -> None:
    trial = made_up.trial(1, {"runtime:threads": "2", "precision@/a": "float32"}, 1.0, 0.0, 10)
    default = Candidate.of("m" * 64, {"runtime:threads": "4", "precision@/a": "float32"})
    assert trial_document(trial, default)["decisions"] == {"runtime:threads": "2"}
    assert len(trial_document(trial)["decisions"]) == 2


def test_the_final_stage_replaces_the_screening() -> None:
    trial = made_up.trial(1, {}, 1.0, 0.0, 10)
    final = made_up.measurement(2.0, 1, stage="final", runs=1000)
    document = trial_document(trial, measurement=final)
    assert (document["stage"], document["latency_ms"]["n"]) == ("final", 1000)
    assert document["latency_ms"]["p99"] > document["latency_ms"]["p50"]


def test_evidence_survives_the_file(tmp_path: Path) -> None:
    document = made_up.result(made_up.study())
    goal = Objective("size", MaxDrop(0.5, relative=False), Limits(max_size_bytes=8e6))
    context = made_up.context(document, objective=goal)
    (tmp_path / "best.json").write_text(Evidence(document, context).to_json())
    read = read_evidence(tmp_path)
    assert read.context == context
    assert {key: read.document[key] for key in document} == document
    assert read.document["decisions"] == document["best"]["decisions"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"context": {}}', '{"context": 3}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(ConfigError, match=r"best\.json"):
        read_evidence(tmp_path)


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=2000))
def test_thinned_samples_keep_their_ends_and_middle(values: list[float]) -> None:
    kept = thin(values, 50)
    ordered = sorted(values)
    assert len(kept) == min(50, len(values))
    assert (kept[0], kept[-1]) == (pytest.approx(ordered[0], rel=1e-4), pytest.approx(ordered[-1], rel=1e-4))
    below = sum(value <= kept[len(kept) // 2] * (1 + 1e-4) for value in ordered)
    assert below >= len(values) * 0.45


def test_a_ratio_of_paired_rounds_ignores_what_slows_both() -> None:
    control = [1.0, 1.1, 3.0, 1.0, 2.0]  # the whole machine was slow in two rounds
    found = paired_ratio([0.8 * x for x in control], control)
    assert found is not None
    assert found == pytest.approx((0.8, 0.8, 0.8))
    wide = paired_ratio([0.8, 0.9, 1.0], [1.0, 1.0, 1.0])
    corrected = paired_ratio([0.8, 0.9, 1.0], [1.0, 1.0, 1.0], comparisons=3)
    assert wide is not None
    assert corrected is not None
    assert corrected[1] < wide[1] < wide[0] < wide[2] < corrected[2]
    assert paired_ratio([1.0], [1.0]) is None


def test_the_strip_has_a_cell_for_every_region() -> None:
    regions = (("/a", "Conv"), ("/b", "Conv, Relu"), ("/c", "Gemm"))
    row = cells(
        {"precision@/b": "int8", "rewrite:fold@/b": "on", "rewrite:fold@/c": "off", "runtime:threads": "2"},
        regions,
    )
    assert [(cell.name, cell.precision, cell.rewrites) for cell in row] == [
        ("/a", "float32", ()), ("/b", "int8", ("fold",)), ("/c", "float32", ()),
    ]  # fmt: skip
    assert [cell.hue for cell in row] == [0, 1, 0]
    assert whole_model({"runtime:threads": "2", "precision@/b": "int8"}) == {"runtime:threads": "2"}


def test_a_formula_in_a_name_stays_text_in_a_spreadsheet() -> None:
    assert "'=1+1" in as_csv([{"name": "=1+1", "drop": None, "p50_ms": -1.5, "decisions": {}}])


def test_a_context_needs_little() -> None:
    assert ReportContext.from_json(
        json.loads(json.dumps(ReportContext("x", "now").to_json()))
    ) == ReportContext("x", "now")
