"""A trial as JSON: everything but the latency samples, which go to a file beside the journal."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.interface import from_json as from_json_of_interface
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Accuracy, Trial

Json = dict[str, Any]


def to_json(trial: Trial, measurement_identity: str | None, folder: Path) -> Json:
    """The record of a trial; its number and its decisions are Optuna's.

    Args:
        folder: Of the study, absolute. An artifact in it is named from there: the folder may be moved.
    """
    artifact = (
        asdict(trial.artifact) | {"path": _inside(trial.artifact.path, folder)} if trial.artifact else None
    )
    return {
        "state": trial.state,
        "kind": trial.kind,
        "name": trial.name,
        "reason": trial.reason,
        "artifact": artifact,
        "measurement": trial.measurement.to_json() if trial.measurement else None,
        "accuracy": asdict(trial.accuracy) if trial.accuracy else None,
        "measurement_identity": measurement_identity,
        "replay_of": trial.replay_of,
    }


def from_json(
    number: int, candidate: Candidate, record: Json, samples: Path, predicted: Json | None = None
) -> Trial:
    """The inverse of `to_json`.

    Args:
        predicted: What the sampler said of its proposal, see `core.trial.PREDICTED`.
        samples: Folder of the latency samples, in that of the study.
    """
    artifact, measurement, accuracy = record["artifact"], record["measurement"], record["accuracy"]
    return Trial(
        number=number,
        candidate=candidate,
        state=record["state"],
        kind=record["kind"],
        name=record["name"],
        artifact=_artifact(artifact, samples.parent) if artifact else None,
        measurement=Measurement.from_json(measurement, load_samples(samples, number))
        if measurement
        else None,
        accuracy=Accuracy(**accuracy) if accuracy else None,
        reason=record["reason"],
        replay_of=record["replay_of"],
        predicted=predictions(predicted),
    )


def predictions(fields: Json | None) -> dict[str, Quantity]:
    """`Trial.predicted` from what the sampler left with its trial."""
    return {figure: Quantity(**quantity) for figure, quantity in (fields or {}).items()}


def _artifact(fields: Json, folder: Path) -> Artifact:
    interface = from_json_of_interface(fields.get("interface", ()))
    return Artifact(**(fields | {"path": folder / fields["path"], "interface": interface}))


def _inside(path: Path, folder: Path) -> str:
    # The folder has its links resolved, the path may be as the user wrote it.
    for known in (path, path.resolve()):
        if known.is_relative_to(folder):
            return known.relative_to(folder).as_posix()
    return str(path)


def samples_path(folder: Path, number: int) -> Path:
    """Where the latency samples of a trial are."""
    return folder / f"{number}.npy"


def dump_samples(measurement: Measurement) -> bytes:
    """Latency samples in ms as an `.npy` file of float32 `(n,)`."""
    stream = io.BytesIO()
    np.save(stream, np.array(measurement.latencies_ms, dtype=np.float32), allow_pickle=False)
    return stream.getvalue()


def load_samples(folder: Path, number: int) -> tuple[float, ...]:
    """Latency samples in ms; empty where there are none (emulated and predicted figures)."""
    path = samples_path(folder, number)
    if not path.exists():
        return ()
    return tuple(float(value) for value in np.load(path, allow_pickle=False))
