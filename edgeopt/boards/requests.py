"""What the on-board runner is asked for, in its own words."""

from __future__ import annotations

from typing import Any

from edgeopt.boards.quiet import CONTENDED
from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Protocol
from edgeopt.runtimes import litert, onnxruntime

RUNTIMES = {onnxruntime.NAME: onnxruntime, litert.NAME: litert}


def job(artifact: Artifact, feeds: str, names: list[str]) -> dict[str, object]:
    """What the on-board runner is told of an artifact: `feeds` is the name of its inputs there."""
    options = RUNTIMES[artifact.runtime].runner_options(artifact.session_options)
    return {
        "model": artifact.sha256,
        "feeds": feeds,
        "names": names,
        "runtime": artifact.runtime,
        "options": options,
    }


def windows(protocol: Protocol) -> dict[str, Any]:
    """How long and under which conditions it is to measure."""
    setting = protocol.setting
    return {
        "processes": protocol.processes,
        "min_runs": protocol.min_runs,
        "window_s": protocol.window_s,
        "slice_s": protocol.slice_s,
        "stop_ratio": protocol.stop_ratio,
        "dominated_ratio": protocol.dominated_ratio,
        "enough_ci": protocol.enough_ci,
        "soak": setting.name == "sustained",
        "rate_hz": setting.rate_hz,
        "load": setting.load,
        "cpus": list(setting.cpus),
        # Work that was asked for on every core is no stranger's.
        "contended": None if setting.load else CONTENDED,
    }
