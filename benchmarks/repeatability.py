"""Is the same model the same five times? The spread of its median latency between runs, at most 5 %.

Each run connects anew and measures a model alone, as the final stage does. Run on an otherwise idle machine.

    python -m benchmarks.repeatability [--runs 5] [--threads 1] [MODEL.onnx …]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import local
from edgeopt.boards.validity import Thresholds
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import MeasurementInvalid
from edgeopt.core.measurement import Measurement
from edgeopt.resources import resource
from edgeopt.runtimes.onnxruntime import Session

MOST_SPREAD = 0.05


def p50_ms(path: Path, threads: int) -> float:
    """The median of one final-stage measurement on this machine, over a connection of its own."""
    profile = profiles.load("local")
    inputs = Session(path).inputs
    feeds = {i.name: np.ones([size or 1 for size in i.shape], i.dtype) for i in inputs}
    options: dict[str, object] = {"threads": threads}
    artifact = Artifact("key", path, file_digest(path), path.stat().st_size, session_options=options)
    transport = local.connect(Address.parse("local"))
    with RunnerBoard("local", "local", lambda: transport, thresholds=Thresholds.of(profile)) as board:
        (result,) = board.measure([artifact], feeds, profiles.protocols(profile)["final"])
    if not isinstance(result, Measurement):
        raise result
    low, high = result.latency.low, result.latency.high
    print(
        f"  {result.p50_ms:.4f} ms  [{low:.4f}, {high:.4f}]  load average {os.getloadavg()[0]:.1f}  "
        f"{result.latency_note or ''}",
        flush=True,
    )
    return result.p50_ms


def main() -> int:
    """Print each run and the spread, (highest - lowest) / median; 1 where it is above the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    families = ("cnn", "transformer")
    models = [resource(f"examples/{family}/model.onnx") for family in families]
    parser.add_argument("models", nargs="*", type=Path, default=models)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    missed = False
    for path in asked.models:
        print(f"{path.parent.name}/{path.name}, {asked.threads} threads:")
        try:
            runs = [p50_ms(path, asked.threads) for _ in range(asked.runs)]
        except MeasurementInvalid as error:
            print(f"  {error.message}")
            missed = True
            continue
        spread = (max(runs) - min(runs)) / float(np.median(runs))
        print(f"  spread {spread:.1%}, at most {MOST_SPREAD:.0%}")
        missed |= spread > MOST_SPREAD
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
