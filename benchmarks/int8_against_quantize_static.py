"""Our static int8 against `onnxruntime.quantization.quantize_static` (QDQ, S8S8, per channel) on MobileNetV2.

    python benchmarks/int8_against_quantize_static.py [ROUNDS]

One thread, in turns: prints medians, and the median of the rounds' ratios (below 1: ours is faster), for
int8 activations (the same form as theirs) and for the form that this machine's kernels want.
"""

from __future__ import annotations

import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgeopt.graph.builder import wants_unsigned
from edgeopt.graph.model import freeze, load
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import Bench
from tests.graph.mobilenet import mobilenet_v2

OPTIONS = {"threads": 1}
INFERENCES = 3


class Reader(CalibrationDataReader):
    """The samples that ours is calibrated with."""

    def __init__(self, bench: Bench) -> None:
        self._left = bench.samples.samples()

    def get_next(self) -> object:
        """One sample, or None at the end."""
        return next(iter(self._left), None)


def sessions(folder: Path) -> tuple[Bench, dict[str, Session]]:
    """The float model and its int8 versions, loaded."""
    onnx.save(mobilenet_v2(), folder / "m.onnx")
    model = freeze(load(folder / "m.onnx"), {})
    signed = Bench.of(model, folder / "signed")
    native = Bench.of(model, folder / "native", unsigned=wants_unsigned(platform.machine()))
    logging.disable(logging.WARNING)
    quantize_static(
        folder / "m.onnx", folder / "theirs.onnx", Reader(signed), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    paths = {
        "float32": folder / "m.onnx",
        "quantize_static": folder / "theirs.onnx",
        "ours": signed.builder.build(signed.everywhere("int8_static_channel", "on")).path,
        "ours, native form": native.builder.build(native.everywhere("int8_static_channel", "on")).path,
    }
    return signed, {name: Session(path, OPTIONS) for name, path in paths.items()}


def main() -> None:
    """Print the comparison."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as place:
        bench, loaded = sessions(Path(place))
    feeds = next(bench.samples.samples())
    exact = loaded["float32"].run(feeds)[0]
    taken: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(rounds):
        for name, session in loaded.items():
            start = time.perf_counter()
            for _ in range(INFERENCES):
                session.run(feeds)
            taken[name].append((time.perf_counter() - start) / INFERENCES * 1000)
    for name, session in loaded.items():
        error = np.linalg.norm(session.run(feeds)[0] - exact) / np.linalg.norm(exact)
        ratios = [a / b for a, b in zip(taken[name], taken["quantize_static"], strict=True)]
        print(
            f"{name:18} {statistics.median(taken[name]):7.2f} ms, {statistics.median(ratios):.2f} of "
            f"quantize_static's time, error {error:.4f}"
        )


if __name__ == "__main__":
    main()
