"""What int8 gains on emulated boards with the dot product and without, for the CNN of the examples.

The Cortex-A76 of the Raspberry Pi 5 multiplies and adds four int8 products in one instruction (`udot`), the
Cortex-A72 of the Pi 4 does not: so the same file must gain more there. The int8 files are the recipes that
`edgeopt optimize --budget 0` makes, measured by `edgeopt measure` beside the original (some minutes):

    python -m benchmarks.emulated_int8_gain

Exits with 1 if the best int8 recipe does not gain more on the Pi 5.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CNN = Path(__file__).resolve().parents[1] / "examples" / "cnn"
BOARDS = ("rpi4", "rpi5")
THREADS = (1, 4)


def edgeopt(*arguments: object) -> dict[str, Any]:
    """The JSON answer of a command in the example's folder."""
    command = [sys.executable, "-m", "edgeopt", *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=CNN, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def int8_recipes(folder: Path) -> dict[str, Path]:
    """The int8 files by recipe, each once however many threads it was tried with."""
    answer = edgeopt("optimize", "--board", f"virtual:{BOARDS[0]}", "--budget", 0, "-o", folder)
    found: dict[str, Path] = {}
    for reference in answer["references"]:
        is_int8 = "int8" in reference["name"] or "dynamic" in reference["name"]
        if is_int8 and Path(reference["artifact"]) not in found.values():
            found[reference["name"]] = Path(reference["artifact"])
    return found


def main() -> None:
    """Print time and gain of each recipe on both boards."""
    best: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        recipes = int8_recipes(Path(folder))
        files = ["model.onnx", *recipes.values()]
        for board in BOARDS:
            for threads in THREADS:
                answer = edgeopt("measure", *files, "--board", f"virtual:{board}", "--threads", threads)
                original, *int8 = (row["latency_ms"]["p50"] for row in answer["measurements"])
                print(f"{board}, {threads} threads: float32 {original:.3f} ms")
                for name, ms in zip(recipes, int8, strict=True):
                    print(f"    {name:<32} {ms:.3f} ms, gain {original / ms:.2f}", flush=True)
                best[board, threads] = max(original / ms for ms in int8)
    for threads in THREADS:
        gains = [best[board, threads] for board in BOARDS]
        print(f"best gain on {threads} threads: {BOARDS[0]} {gains[0]:.2f}, {BOARDS[1]} {gains[1]:.2f}")
        if gains[1] <= gains[0]:
            raise SystemExit("int8 does not gain more where there is a dot product")


if __name__ == "__main__":
    main()
