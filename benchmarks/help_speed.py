"""How long `edgeopt --help` takes, and what it imports (the goal is 0.5 s, without torch, onnx, optuna).

python benchmarks/help_speed.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 11
HEAVY = ("torch", "onnx", "onnxruntime", "optuna", "stable_baselines3", "numpy", "matplotlib", "scipy")


def seconds(*command: str) -> float:
    """Wall time of one run."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    times = sorted(seconds("-m", "edgeopt", "--help") for _ in range(RUNS))
    bare = statistics.median(seconds("-c", "pass") for _ in range(RUNS))
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, edgeopt.cli.app; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    spread = f"min {times[0]:.2f}, max {times[-1]:.2f}"
    print(f"edgeopt --help: median {statistics.median(times):.2f} s of {RUNS} ({spread})")
    print(f"python itself:  median {bare:.2f} s")
    print(f"heavy imports:  {', '.join(name for name in HEAVY if name in loaded) or 'none'}")


if __name__ == "__main__":
    main()
