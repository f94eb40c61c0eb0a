"""Options that only some runtimes have."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.core.candidate import RUNTIME
from edgeopt.core.errors import ConfigError
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.search.context import size
from edgeopt.study import space as space_file

PRECISION = "precision@conv"
SPACE = SearchSpace(
    "m",
    (
        DecisionPoint(RUNTIME, ("onnxruntime", "litert"), "onnxruntime"),
        DecisionPoint(
            PRECISION, ("float32", "int8_dynamic", "int16x8"), "float32",
            (("onnxruntime", ("float32", "int8_dynamic")), ("litert", ("float32", "int16x8"))),
        ),
        DecisionPoint("runtime:allow_spinning", ("0", "1"), "1", (("litert", ("1",)),)),
        DecisionPoint("runtime:threads", ("1", "4"), "4"),
    ),
)  # fmt: skip


def test_a_candidate_decides_only_what_its_runtime_offers() -> None:
    assert SPACE.candidate({RUNTIME: "litert", PRECISION: "int16x8"}).runtime == "litert"
    assert SPACE.default().runtime == "onnxruntime"
    with pytest.raises(ConfigError, match="'int16x8' is not one of float32, int8_dynamic under onnxruntime"):
        SPACE.candidate({PRECISION: "int16x8"})


def test_what_the_runtime_lacks_is_settled_at_its_default() -> None:
    chosen = {PRECISION: "int8_dynamic", "runtime:allow_spinning": "0", "runtime:threads": "1"}
    assert SPACE.settled({**chosen, RUNTIME: "onnxruntime"}) == SPACE.candidate(chosen)
    on_litert = SPACE.settled({**chosen, RUNTIME: "litert"})
    assert on_litert == SPACE.candidate({RUNTIME: "litert", "runtime:threads": "1"})
    with pytest.raises(ConfigError, match="no decision 'x'"):
        SPACE.settled({"x": "1"})
    with pytest.raises(ConfigError, match="'int2' is not one of"):
        SPACE.settled({PRECISION: "int2"})


@pytest.mark.parametrize("runtime", SPACE.runtimes)
def test_candidates_of_one_runtime_are_candidates_of_the_whole(runtime: str) -> None:
    inside = SPACE.under(runtime)
    assert inside.runtimes == (runtime,)
    assert [point.site for point in inside.points] == [point.site for point in SPACE.points]
    widest = inside.decode(tuple(len(point.options) - 1 for point in inside.points))
    SPACE.validate(widest)
    assert widest.runtime == runtime


def test_the_size_counts_no_option_that_a_runtime_lacks() -> None:
    assert size(SPACE.under("onnxruntime")) == 2 * 2 * 2
    assert size(SPACE.under("litert")) == 2 * 2
    assert size(SPACE) == 12


def test_the_conditions_are_kept_with_a_study(tmp_path: Path) -> None:
    space_file.save(tmp_path, SPACE)
    assert space_file.load(tmp_path) == SPACE


def test_a_default_that_a_runtime_lacks_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="under litert do not fit"):
        DecisionPoint("a", ("x", "y"), "x", (("litert", ("y",)),))
