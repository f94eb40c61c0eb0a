"""The JSON form of a trial: `T` of the command-line contract."""

from __future__ import annotations

from typing import Any

from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.trial import Trial


def trial_document(
    trial: Trial, default: Candidate | None = None, *, measurement: Measurement | None = None
) -> dict[str, Any]:
    """A trial as `T`. What is not known is None, paths are absolute.

    Args:
        trial: Of any state.
        default: The undecided candidate: only decisions that differ from it are given. None gives all.
        measurement: Of a later stage (the final one), instead of the trial's own.
    """
    said = measurement or trial.measurement
    artifact, accuracy = trial.artifact, trial.accuracy
    decisions = trial.candidate.changes(default) if default else dict(trial.candidate.decisions)
    return {
        "name": trial.name or f"trial {trial.number}",
        "trial": trial.number,
        "kind": trial.kind,
        "state": trial.state,
        "reason": trial.reason,
        "runtime": artifact.runtime if artifact else None,
        "session_options": dict(artifact.session_options) if artifact else None,
        "artifact": str(artifact.path.absolute()) if artifact else None,
        "sha256": artifact.sha256 if artifact else None,
        "size_bytes": artifact.size_bytes if artifact else None,
        "accuracy": accuracy.score if accuracy else None,
        "drop": accuracy.drop if accuracy else None,
        "decisions": decisions,
        "interface": [change.document() for change in artifact.interface] if artifact else [],
    } | measurement_document(said)


def measurement_document(said: Measurement | None) -> dict[str, Any]:
    """The part of `T` that a board said; every field is there, None where it said nothing."""
    if said is None:
        figures = dict.fromkeys(
            ("cold_start_ms", "peak_rss_bytes", "model_rss_bytes", "power_w", "energy_mj", "energy_source",
             "energy_ci95", "net_energy_mj", "energy_note", "latency_source", "latency_note", "contended",
             "cpu_utilization", "roofline_fraction", "provenance", "conditions", "stage")
        )  # fmt: skip
        return figures | {"latency_ms": dict.fromkeys(("p50", "p90", "p95", "p99", "ci95")) | {"n": 0}}
    return {
        "stage": said.protocol,
        "latency_ms": {
            "p50": said.p50_ms,
            "p90": said.p90_ms,
            "p95": said.p95_ms,
            "p99": said.p99_ms,
            "ci95": [said.latency.low, said.latency.high],
            "n": len(said.latencies_ms),
        },
        "cold_start_ms": said.cold_start_ms,
        "peak_rss_bytes": said.peak_rss_bytes,
        "model_rss_bytes": said.model_rss_bytes,
        "power_w": said.power_w.value if said.power_w else None,
        "energy_mj": said.energy_mj.value if said.energy_mj else None,
        "energy_source": said.energy_mj.source if said.energy_mj else None,
        "energy_ci95": [said.energy_mj.low, said.energy_mj.high] if said.energy_mj else None,
        "net_energy_mj": said.net_energy_mj.value if said.net_energy_mj else None,
        "energy_note": said.energy_note,
        "cpu_utilization": said.cpu_utilization,
        "roofline_fraction": said.roofline_fraction,
        "provenance": said.provenance,
        "latency_source": said.latency.source,
        "latency_note": said.latency_note,
        "contended": said.contended,
        "conditions": said.conditions,
    }
