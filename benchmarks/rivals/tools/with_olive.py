"""Olive's `optimize` command at its defaults."""

import shutil
import subprocess
import sys
from pathlib import Path


def build(model: Path, _calibration: Path, output: Path, *command: str) -> None:
    """Run the command; what it wrote is the result."""
    made = output.with_name("olive")
    argv = [sys.executable, "-m", "olive", *(command or ["optimize"]), "-m", str(model), "-o", str(made)]
    ran = subprocess.run(argv, capture_output=True, text=True, cwd=output.parent, check=False)
    found = sorted(made.rglob("*.onnx"))
    if ran.returncode or len(found) != 1:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
        raise RuntimeError(f"olive ended with {ran.returncode}, {len(found)} models: {said[-1:]}")
    shutil.copy(found[0], output)
    for extra in found[0].parent.glob("*.data"):
        shutil.copy(extra, output.parent)
