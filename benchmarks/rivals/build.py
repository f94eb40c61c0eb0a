"""Each rival's variant of a model, made in a process of the rivals' own environment, without any network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.rivals.layout import Layout

TOOLS = {
    "onnxslim": "with_onnxslim",
    "onnxsim": "with_onnxsim",
    "ORT static": "ort_static",
    "ORT static, per channel": "ort_static_channel",
    "ORT dynamic": "ort_dynamic",
    "Olive": "with_olive",
    "Olive int8": "with_olive_int8",
    "NNCF": "with_nncf",
}
"""Name in the table, and module in `tools/`."""
LIMIT_S = 900.0

QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    # openvino_telemetry, which NNCF reports by, asks for consent nowhere where this is set.
    "CI": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Telemetry off; besides, the processes have no network at all."""

SCRIPT = """
import importlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2]).build(*map(Path, sys.argv[3:6]))
"""


def build(layout: Layout, subject: str, tool: str) -> Path | str:
    """Make a variant, or remember how that failed; what was made before is kept.

    Returns:
        The model, or the first line of the reason why there is none.
    """
    folder = layout.variant(subject, TOOLS[tool])
    made, failed = folder / "model.onnx", folder / "failed.json"
    if made.is_file():
        return made
    if failed.is_file():
        reason: str = json.loads(failed.read_text())["reason"]
        return reason
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "home").mkdir(parents=True)
    project = layout.project(subject)
    # A copy under a plain name: what a tool writes beside its input must not reach another.
    source = folder / "source.onnx"
    shutil.copy(project / "model.onnx", source)
    command = [
        "unshare", "--map-root-user", "--net", str(layout.python), "-c", SCRIPT,
        str(Path(__file__).parent / "tools"), TOOLS[tool], str(source), str(layout.feeds(subject)), str(made),
    ]  # fmt: skip
    environment = {**os.environ, **QUIET, "HOME": str(folder / "home"), "PYTHONPATH": ""}
    began = time.monotonic()
    reason = _run(command, environment, folder)
    seconds = time.monotonic() - began
    if reason is None and not made.is_file():
        reason = "it ended without an error and without a model"
    if reason is not None:
        made.unlink(missing_ok=True)
        failed.write_text(json.dumps({"reason": reason, "seconds": seconds}, indent=1))
        return reason
    (folder / "built.json").write_text(json.dumps({"seconds": seconds}))
    return made


def _run(command: list[str], environment: dict[str, str], folder: Path) -> str | None:
    """Run a tool; None, or why it failed."""
    with (folder / "log").open("w+") as log:
        try:
            ran = subprocess.run(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder, timeout=LIMIT_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not done after {LIMIT_S:.0f} s"
        log.seek(0)
        lines = log.read().splitlines()
    if not ran.returncode:
        return None
    said = [line.strip() for line in lines if line and not line[0].isspace()]
    raised = [i for i, line in enumerate(said) if line.startswith("Traceback")]
    last = next((line for line in said[raised[-1] + 1 :] if line), None) if raised else None
    return (last or (said[-1] if said else f"exit code {ran.returncode}"))[:300]
