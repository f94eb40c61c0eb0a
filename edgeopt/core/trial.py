"""A trial: candidate, measurement and accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity

State = Literal["COMPLETE", "INFEASIBLE", "FAILED"]
Kind = Literal["baseline", "reference", "candidate"]
PREDICTED = "edgeopt:predicted"
"""Attribute of an Optuna trial in which a sampler says what it expects of its proposal: `Trial.predicted`
as JSON."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a candidate does on one part of the data.

    Attributes:
        score: Of the metric, higher is better; None without data.
        drop: The original's score less this one's, on the same samples (absolute).
        bound: One-sided 95 % upper bound of the drop; None where it was not asked for.
        n: Samples.
        basis: `labels`, `agreement` with the original's outputs, or `none`.
        part: `search` or `confirm`.
        disagreement: Between the board's outputs and this machine's: mean absolute difference of a sample's
            score, which of a 0/1 score is the share of samples judged differently; of a metric of all
            samples the difference of the two scores. None where not both were run.
    """

    score: float | None
    drop: float | None
    bound: float | None
    n: int
    basis: Literal["labels", "agreement", "none"]
    part: Literal["search", "confirm"]
    disagreement: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One try. INFEASIBLE: breaks a constraint or a gate (`reason`); FAILED: could not be built or run.

    A board that cannot be reached makes no trial at all.

    Attributes:
        replay_of: Number of the trial whose equal artifact was measured; None if this one used the board.
        predicted: What the sampler expected when it proposed the candidate, by figure (`latency`, `drop`);
            empty where nobody predicted anything.
    """

    number: int
    candidate: Candidate
    state: State
    kind: Kind = "candidate"
    name: str = ""
    artifact: Artifact | None = None
    measurement: Measurement | None = None
    accuracy: Accuracy | None = None
    reason: str | None = None
    replay_of: int | None = None
    predicted: Mapping[str, Quantity] = field(default_factory=dict, hash=False)
