"""`edgeopt optimize` on a subject, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.rivals.layout import Layout
from benchmarks.rivals.subject import REPOSITORY
from edgeopt.core.objective import REGRESSIONS


def optimize(
    layout: Layout, subject: str, budget: str, effort: str, threads: int, *, smallest: bool = False
) -> dict[str, Any] | str:
    """Run it, or resume it.

    Args:
        smallest: Ask for the smallest file that is not slower than the original, else for the fastest.

    Returns:
        The answer's document, or the first line of why there is none.
    """
    output = layout.optimized(subject, "size" if smallest else "latency")
    command = [
        sys.executable, "-m", "edgeopt", "optimize", "--device", "local", "--budget", budget,
        "--effort", effort, "--threads", str(threads), "--seed", "0", "-o", str(output), "--json",
    ]  # fmt: skip
    if smallest:
        command += ["--objective", "size"]
    else:  # no other tool asks what it costs in memory
        command += [word for name in REGRESSIONS for word in ("--allow-worse", name)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(
        command, cwd=layout.project(subject), env=environment, capture_output=True, text=True, check=False
    )
    output.mkdir(parents=True, exist_ok=True)
    Path(output, "stderr.txt").write_text(ran.stderr)
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.startswith("error")]
        return (said or ran.stderr.splitlines() or [f"exit code {ran.returncode}"])[0]
    document: dict[str, Any] = json.loads(ran.stdout)
    return document
