import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "streaming_memory.py"


@pytest.mark.parametrize("compressed", [False, True])
def test_half_a_gigabyte_is_streamed_in_bounded_memory(compressed: bool) -> None:
    spec = importlib.util.spec_from_file_location("streaming_memory", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    figures = benchmark.measure(samples=830, compressed=compressed)
    assert figures["read"] == 830 + 83
    assert figures["peak_mb"] < 250  # the interpreter and numpy take about 60 of them
