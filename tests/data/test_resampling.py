"""What a bound by resampling costs: it looks at the original once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeopt.data.metric import Whole
from edgeopt.data.split import split
from tests.data.made import labelled
from tests.data.test_accuracy import first_of, gate, wrong_in


def test_the_original_is_resampled_once_for_all_candidates(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 200)
    parts = split(dataset, None, None, 0)
    checked, fresh = gate(dataset, "f1", parts=parts), gate(dataset, "f1", parts=parts)
    checked.original("confirm")
    scored: list[int] = []
    metric = checked.metric
    assert isinstance(metric, Whole)

    def of_all(*given: Any) -> float:
        scored.append(1)
        return metric.of_all(*given)

    checked.metric = replace(metric, of_all=of_all)
    worse, other = wrong_in(first_of(parts.confirm, 5)), wrong_in(first_of(parts.confirm, 9))
    first, half = checked.bound(worse, 1), len(scored)
    second = checked.bound(other, 1)
    assert len(scored) - half == pytest.approx(half / 2, abs=2)
    assert (first, second) == (fresh.bound(worse, 1), gate(dataset, "f1", parts=parts).bound(other, 1))
    assert (first.bound or 0) < (second.bound or 0)
