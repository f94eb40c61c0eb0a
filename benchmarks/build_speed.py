"""How long it takes to build a candidate of a MobileNetV2-size model, after calibration.

    python benchmarks/build_speed.py [COUNT]

52 convolutions with BatchNormalization, 3.5 M parameters. Prints the median of COUNT (default 50) random
candidates: on the clock, and of this process's own CPU time (what it would be on an idle machine).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeopt.graph.model import freeze, load
from edgeopt.testing.precision import Bench, random_candidates
from tests.graph.mobilenet import mobilenet_v2


def build_times_s(count: int, folder: Path) -> list[tuple[float, float]]:
    """Seconds on the clock and of CPU time that each of `count` random candidates takes."""
    path = folder / "mobilenet_v2.onnx"
    onnx.save(mobilenet_v2(batchnorm=True), path)
    bench = Bench.of(freeze(load(path), {}), folder)
    taken = []
    for candidate in random_candidates(bench.space, count, seed=0):
        start, start_cpu = time.perf_counter(), time.process_time()
        bench.builder.build(candidate)
        taken.append((time.perf_counter() - start, time.process_time() - start_cpu))
    return taken


def main() -> None:
    """Print the medians."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as folder:
        clock, cpu = zip(*build_times_s(count, Path(folder)), strict=True)
    print(f"{count} candidates: median {statistics.median(clock):.3f} s, worst {max(clock):.3f} s")
    print(f"CPU time: median {statistics.median(cpu):.3f} s, worst {max(cpu):.3f} s")


if __name__ == "__main__":
    main()
