"""Peak memory of the host during a whole `optimize` of each example (the goal is 1.5 GB).

    python benchmarks/host_memory.py [EXAMPLE ...]

The figure is the largest single process's, by the operating system's own accounting.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
GOAL_BYTES = 1.5e9


def peak_bytes(folder: Path) -> int:
    """Run a short study in an example's folder; the highest resident size of any of its processes."""
    with tempfile.TemporaryDirectory() as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "edgeopt", "optimize", "--device", "local", "--budget", "2 trials",
             "--effort", "quick", "--json", "-o", out],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{folder.name}: optimize ended with {child.returncode}")
    return usage.ru_maxrss * 1024


def main() -> None:
    for name in sys.argv[1:] or ("cnn", "rnn", "fnn", "transformer"):
        peak = peak_bytes(EXAMPLES / name)
        print(f"{name:12} {peak / 1e6:7.0f} MB  ({peak / GOAL_BYTES:.0%} of the goal)", flush=True)


if __name__ == "__main__":
    main()
