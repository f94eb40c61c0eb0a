"""All variants of one model, timed in turns and scored on the same samples that no tool has seen."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.rivals import feeds
from benchmarks.rivals.layout import Layout
from edgeopt.boards import profiles
from edgeopt.boards.board import Board
from edgeopt.boards.connect import connect
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.overlay import of_board
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CandidateFailed, EdgeoptError
from edgeopt.core.measurement import Measurement
from edgeopt.graph.workload import workload
from edgeopt.optimize.inputs import Inputs
from edgeopt.report.comparing import comparisons
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.runtimes.probe import Probe

LOADED = "ORT all"
"""The original as everybody loads it: what the others are compared with."""
UNTOUCHED = "original"
"""The original with the runtime's optimizations off."""
OURS = "edgeopt"
SMALLEST = "edgeopt, size"
"""Of the models that other tools break: the smallest file that is not slower than the original."""


def compare(
    layout: Layout,
    subject: str,
    made: Mapping[str, Path | str],
    ours: Mapping[str, Mapping[str, Any] | str],
    *,
    threads: int,
    effort: Any,
) -> dict[str, Any]:
    """Time and score the original, the rivals' variants and edgeopt's.

    Args:
        made: Of each rival the model, or why there is none.
        ours: edgeopt's answers by the variant's name, or why there is none.

    Returns:
        `{"subject", "variants": {name: {"p50_ms", "size_bytes", "score", "drop", "n", "failure"}},
        "comparisons": […], "load", "study"}`; a figure that is not known is None; `study` is what edgeopt
        says of its own search.
    """
    project = layout.project(subject)
    with contextlib.chdir(project):
        inputs = feeds.write(layout, subject)
    options: dict[str, object] = {"threads": threads}
    original = project / "model.onnx"
    artifacts: dict[str, Artifact] = {
        LOADED: _artifact(original, options),
        UNTOUCHED: _artifact(original, {**options, "graph_optimization_level": "disable"}),
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, what in made.items():
        if isinstance(what, str):
            rows[name] = {"failure": what}
        else:
            artifacts[name] = _artifact(what, options)
    for name, answer in ours.items():
        if isinstance(answer, str):
            rows[name] = {"failure": answer}
        else:
            artifacts[name] = _artifact(Path(answer["artifact"]), answer["best"]["session_options"])
    with contextlib.chdir(project), contextlib.closing(Probe()) as probe:
        for name, artifact in artifacts.items():
            rows[name] = {"size_bytes": artifact.size_bytes, **_score(inputs, artifact, probe)}
    running = {name: one for name, one in artifacts.items() if not rows[name].get("failure")}
    profile = profiles.load("local")
    protocol = profiles.protocols(profile, effort)["final"]
    connected = connect(of_board(profile, "local"), "local", Inventory.load(), workload)
    with connected.board as board:
        results = _timed(board, running, inputs, protocol)
    for name, result in results.items():
        rows[name] |= _figures(result)
    return {
        "subject": subject,
        "variants": rows,
        "comparisons": comparisons(list(results), list(results.values()), 0.0),
        "load": os.getloadavg()[0],
        "study": None if isinstance(found := ours[OURS], str) else _study(found),
    }


def _study(ours: Mapping[str, Any]) -> dict[str, Any]:
    """How the search ended, and why references and finalists lost."""
    refused = {row["name"]: row["reason"] for row in ours["references"] if row.get("reason")}
    lost = {f"trial {row['trial']}": row["rejected"] for row in ours["final"] if row["rejected"]}
    return {
        "verdict": ours["verdict"],
        "best": ours["best"]["name"],
        "trials": ours["trials"],
        "failed": ours["failed"],
        "device_seconds": ours["device_seconds"],
        "refused": refused | lost,
    }


def _timed(
    board: Board, artifacts: Mapping[str, Artifact], inputs: Inputs, protocol: Any
) -> dict[str, Measurement | CandidateFailed]:
    return dict(zip(artifacts, board.measure(list(artifacts.values()), inputs.feeds, protocol), strict=True))


def _artifact(path: Path, options: Mapping[str, object]) -> Artifact:
    """A file with its session options; weights that lie beside it count, too."""
    beside = sum(other.stat().st_size for other in path.parent.glob("*.data"))
    return Artifact(
        str(path), path, file_digest(path), path.stat().st_size + beside, session_options=dict(options)
    )


def _score(inputs: Inputs, artifact: Artifact, probe: Probe) -> dict[str, Any]:
    """Score and drop on what only confirms; why not, where it cannot be loaded or run."""
    assert inputs.gate is not None
    level = artifact.session_options.get("graph_optimization_level", "all")
    settings = {"threads": 1, "graph_optimization_level": level}
    try:
        probe.check(artifact.path, settings)
        accuracy = inputs.gate.score(Session(artifact.path, settings).run, "confirm", full=True)
    except EdgeoptError as error:
        return {"failure": error.message}
    return {"score": accuracy.score, "drop": accuracy.drop, "n": accuracy.n, "metric": inputs.metric_name}


def _figures(result: Measurement | CandidateFailed) -> dict[str, Any]:
    if isinstance(result, CandidateFailed):
        return {"failure": result.message}
    return {
        "p50_ms": result.p50_ms,
        "peak_rss_bytes": result.peak_rss_bytes,
        "cold_start_ms": result.cold_start_ms,
        "contended": result.contended,
        "validity": result.validity,
        "processes": len(result.process_p50_ms),
        "samples": len(result.latencies_ms),
    }


def write(layout: Layout, document: Mapping[str, Any]) -> None:
    """Keep it."""
    layout.compared(document["subject"]).write_text(json.dumps(document, indent=1) + "\n")
