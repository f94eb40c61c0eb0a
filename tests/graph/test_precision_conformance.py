"""Every precision scheme keeps its promises, alone and mixed; a new file is tested by being there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.graph import precision
from edgeopt.testing.precision import Bench, ConformanceError, cases, check_example, check_mixes
from tests.graph import networks


@pytest.mark.parametrize(("scheme", "index"), cases())
def test_scheme_conforms(scheme: str, index: int, tmp_path: Path) -> None:
    check_example(scheme, index, tmp_path)


@pytest.mark.parametrize("kind", networks.ALL)
@pytest.mark.parametrize("unsigned", [False, True])
def test_any_mix_of_schemes_and_rewrites_runs_and_stays_near(
    kind: str, unsigned: bool, tmp_path: Path
) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.ALL[kind]), tmp_path, unsigned=unsigned)
    errors = check_mixes(bench, 30, seed=1)
    assert 0 < max(errors) < 0.25  # weights of 4 bits are among them


def test_a_scheme_that_is_less_accurate_than_it_says_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.scheme("int8_dynamic"), "MAX_ERROR", 1e-6)
    with pytest.raises(ConformanceError, match="error"):
        check_example("int8_dynamic", 0, tmp_path)


def test_a_scheme_whose_file_is_larger_than_it_says_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.scheme("float16_weights"), "WEIGHT_BITS", 4)
    with pytest.raises(ConformanceError, match="bytes from"):
        check_example("float16_weights", 1, tmp_path)


def test_a_scheme_that_does_nothing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.scheme("float16_weights"), "LEAST_VALUES", 10**9)
    with pytest.raises(ConformanceError, match="applies nowhere"):
        check_example("float16_weights", 1, tmp_path)
