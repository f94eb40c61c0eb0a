"""Does measuring over SSH change what is measured? p50 over a real sshd on loopback, against local.

Needs Debian's openssh-server. Both boards measure the same model in turns, in pairs; the median of the pairs'
ratios must be within 10 % of 1. Run on an otherwise idle machine:

    python -m benchmarks.ssh_overhead [MODEL.onnx]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgeopt.boards.address import Address
from edgeopt.boards.runner import RunnerBoard
from edgeopt.core import plugins
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.resources import resource
from edgeopt.runtimes.onnxruntime import Session
from tests.sshd import Sshd, make_key

PAIRS = 7
LIMIT = 0.10
SCREEN = Protocol(
    "screen", processes=1, min_runs=64, window_s=2.0, slice_s=0.25, stop_ratio=None, deadline_s=120
)


def board(url: str) -> RunnerBoard:
    """Connect to a board by its address."""
    address = Address.parse(url)
    transport = plugins.load("transports", address.scheme)
    return RunnerBoard(str(address), "local", lambda: transport.connect(address))


def p50_ms(opened: RunnerBoard, artifact: Artifact, feeds: dict[str, np.ndarray]) -> float:
    """One screening, in a fresh process."""
    (result,) = opened.measure([artifact], feeds, SCREEN)
    if not isinstance(result, Measurement):
        raise result
    return result.p50_ms


def main() -> int:
    """Print each pair and the verdict; 1 where the limit is broken."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else resource("examples/cnn/model.onnx")
    inputs = Session(path).inputs
    feeds = {i.name: np.zeros([size or 1 for size in i.shape], i.dtype) for i in inputs}
    artifact = Artifact("key", path, file_digest(path), path.stat().st_size, session_options={"threads": 1})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = str(folder / "home")
        (folder / "home" / ".ssh").mkdir(parents=True)
        server = Sshd(folder / "board", make_key(folder / "identity")).start()
        try:
            server.trust()
            with board("local") as near, board(server.url) as far:
                ratios = []
                for number in range(PAIRS):
                    first, second = (near, far) if number % 2 else (far, near)
                    times = {id(b): p50_ms(b, artifact, feeds) for b in (first, second)}
                    ratios.append(times[id(far)] / times[id(near)])
                    print(f"ssh {times[id(far)]:.4f} ms  local {times[id(near)]:.4f} ms  {ratios[-1]:.3f}")
        finally:
            server.kill()
    ratio = statistics.median(ratios)
    print(f"median ratio {ratio:.3f}, limit 1 ± {LIMIT:.2f}")
    return 0 if abs(ratio - 1) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
