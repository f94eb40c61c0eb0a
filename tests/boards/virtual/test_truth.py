"""What nothing published confirms says so, wherever the figure goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.virtual import truth
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity
from edgeopt.report.document import measurement_document
from edgeopt.report.figures import provenance


@pytest.mark.parametrize(
    ("device", "runtime", "threads", "said"),
    [
        ("rpi4", "litert", 4, "cycles"),
        ("rpi4", "litert", 1, "cycles; thread scaling unverified"),
        ("rpi4", "onnxruntime", 1, "cycles; onnxruntime unverified"),
        ("rpi4", "onnxruntime", 4, "cycles; onnxruntime and its thread scaling unverified"),
        ("rpi-zero2w", "litert", 4, "cycles; litert and its thread scaling unverified"),
    ],
)
def test_only_what_was_compared_with_a_truth_is_not_marked(
    device: str, runtime: str, threads: int, said: str
) -> None:
    assert truth.source(profiles.load(device), runtime, threads) == said  # type: ignore[arg-type]


def test_a_profile_that_knows_of_no_truth_marks_everything() -> None:
    known = profiles.load("rpi4")
    facts = {section: dict(body) for section, body in known.facts.items()}
    del facts["emulation"]["verified"]
    assert "unverified" in truth.source(replace(known, facts=facts), "litert", 4)


def test_the_mark_reaches_json_and_people() -> None:
    latency = Quantity(10, "ms", 8, 12, "emulated", "cycles; thread scaling unverified")
    document = measurement_document(Measurement(latency))
    assert document["latency_source"] == "cycles; thread scaling unverified"
    assert provenance(document) == "emulated (thread scaling unverified)"
    assert provenance(document | {"latency_source": "cycles"}) == "emulated"
    assert provenance({"provenance": None}) == "–"
