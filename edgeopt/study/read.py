"""A study on disk, read without its model, its board or a sampler: for `show`, `best`, `pareto`, `export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.errors import StudyError
from edgeopt.core.trial import PREDICTED, Trial
from edgeopt.study import records
from edgeopt.study.store import IDENTITY, LOG, MODEL, NAME, NOTE, RECORD, candidate_of


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """What a study folder holds.

    Attributes:
        identity: Digests of model, data, board, ... by name.
        notes: Facts about the study as a whole.
        trials: Finished trials, by number.
        running: Numbers of trials that were not finished.
    """

    folder: Path
    model_digest: str
    identity: dict[str, str]
    notes: dict[str, Any]
    trials: tuple[Trial, ...]
    running: tuple[int, ...]


def read(folder: Path) -> StoredStudy:
    """Read a study; it may be in use by another process.

    Raises:
        StudyError: There is none, or it is damaged.
    """
    import optuna

    from edgeopt.study.journal import Journal

    path = folder.resolve() / LOG
    if not path.is_file():
        raise StudyError(f"there is no study in {folder}", hint="`edgeopt optimize -o DIR` makes one")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(Journal(path, read_only=True))
    try:
        study = optuna.load_study(study_name=NAME, storage=storage)
    except KeyError as error:
        raise StudyError(f"{path} holds no study of edgeopt") from error
    attributes = study.user_attrs
    model = attributes.get(MODEL, "")
    trials, running = [], []
    for frozen in study.get_trials(deepcopy=False):
        record = frozen.user_attrs.get(RECORD)
        if record is None:
            running.append(frozen.number)
            continue
        candidate = candidate_of(model, frozen)
        predicted = frozen.user_attrs.get(PREDICTED)
        trials.append(records.from_json(frozen.number, candidate, record, path.parent / "samples", predicted))
    return StoredStudy(
        folder=path.parent,
        model_digest=model,
        identity=attributes.get(IDENTITY, {}),
        notes={k.removeprefix(NOTE): v for k, v in attributes.items() if k.startswith(NOTE)},
        trials=tuple(trials),
        running=tuple(running),
    )


def rows(study: StoredStudy) -> list[dict[str, Any]]:
    """One flat JSON-able row per trial, for CSV and JSON export; unknown is None."""
    return [_row(trial) for trial in study.trials]


def _row(trial: Trial) -> dict[str, Any]:
    measurement, artifact, accuracy = trial.measurement, trial.artifact, trial.accuracy
    figures: dict[str, Any] = dict.fromkeys(FIGURES)
    if measurement:
        figures = {name: getattr(measurement, name) for name in FIGURES}
    return {
        "trial": trial.number,
        "kind": trial.kind,
        "name": trial.name,
        "state": trial.state,
        "reason": trial.reason,
        "provenance": measurement.provenance if measurement else None,
        "conditions": measurement.conditions if measurement else None,
        **figures,
        "energy_mj": measurement.energy_mj.value if measurement and measurement.energy_mj else None,
        "power_w": measurement.power_w.value if measurement and measurement.power_w else None,
        "size_bytes": artifact.size_bytes if artifact else None,
        "sha256": artifact.sha256 if artifact else None,
        "interface": "; ".join(f"{c.after} for {c.before}" for c in artifact.interface) if artifact else None,
        "accuracy": accuracy.score if accuracy else None,
        "drop": accuracy.drop if accuracy else None,
        "n": accuracy.n if accuracy else None,
        **_predicted(trial),
        "decisions": dict(trial.candidate.decisions),
    }


def _predicted(trial: Trial) -> dict[str, Any]:
    """What was expected of the objective, with its 95 % interval, and of the drop."""
    figure, expected = next(((f, q) for f, q in trial.predicted.items() if f != "drop"), (None, None))
    return {
        "predicted_figure": figure,
        "predicted": expected.value if expected else None,
        "predicted_low": expected.low if expected else None,
        "predicted_high": expected.high if expected else None,
        "predicted_drop": trial.predicted["drop"].value if "drop" in trial.predicted else None,
    }


FIGURES = (
    "p50_ms", "p90_ms", "p95_ms", "p99_ms", "cold_start_ms", "first_inference_ms", "peak_rss_bytes",
    "model_rss_bytes", "cpu_utilization", "roofline_fraction", "drift",
)  # fmt: skip
