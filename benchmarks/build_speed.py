"""How long it takes to build a candidate of a MobileNetV2 and of a ResNet-50, after calibration.

    python benchmarks/build_speed.py [COUNT]

52 convolutions with 3.5 million parameters, 53 with 25.6 million, all with BatchNormalization. Prints the
median of COUNT (default 50) random candidates: on the clock, and of this process's own CPU time (what it
would be on an idle machine). The goals are 0.15 s and 1 s.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeopt.graph.model import freeze, load
from edgeopt.testing.precision import Bench, random_candidates
from tests.graph.mobilenet import mobilenet_v2
from tests.graph.resnet import resnet_50

NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "MobileNetV2": lambda: mobilenet_v2(batchnorm=True),
    "ResNet-50": lambda: resnet_50(size=64),  # building does not depend on the size of the input
}


def build_times_s(proto: onnx.ModelProto, count: int, folder: Path) -> list[tuple[float, float]]:
    """Seconds on the clock and of CPU time that each of `count` random candidates takes."""
    path = folder / "model.onnx"
    onnx.save(proto, path)
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
    for name, network in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            clock, cpu = zip(*build_times_s(network(), count, Path(folder)), strict=True)
        print(
            f"{name}, {count} candidates: median {statistics.median(clock):.3f} s, worst {max(clock):.3f} s"
        )
        print(f"    CPU time: median {statistics.median(cpu):.3f} s, worst {max(cpu):.3f} s", flush=True)


if __name__ == "__main__":
    main()
