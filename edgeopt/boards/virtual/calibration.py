"""Fit the factors of a cycle model to times that were measured on the real board.

Three factors are fitted in log space: what a cycle, a miss and a further thread cost, relative to what the
profile's facts say. Few measurements cannot settle three factors, so each is held near its present value by a
weak prior: with none, nothing changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.virtual.counting import Segment
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import Confidence

PRIOR_SIGMA = {"compute_factor": 0.3, "memory_factor": 0.5, "serial_fraction": 0.5}
"""Factor: how far, in log, it may plausibly be off."""

ROW_SIGMA = 0.15
"""How far a measurement may plausibly be off the best model, in log: what a prior is weighed against."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A run that was counted, and what it took on the board.

    Attributes:
        label: Which model and setting.
        group: Observations of one model: they are left out together when the fit is judged.
        cycles: Priced, of the whole run.
        traffic: Its cache misses.
        threads: On the board; it was counted on one.
        measured_ms: The board's median.
    """

    label: str
    group: str
    cycles: float
    traffic: Segment
    threads: int
    measured_ms: float


def residuals(model: CycleModel, observations: Sequence[Observation]) -> NDArray[np.float64]:
    """Log of emulated / measured, `(observations,)`."""
    return np.array(
        [math.log(model.latency_ms(o.cycles, o.traffic, o.threads) / o.measured_ms) for o in observations]
    )


def fit(model: CycleModel, observations: Sequence[Observation]) -> CycleModel:
    """The model with the factors that fit best."""
    from scipy.optimize import least_squares

    prior = np.log([getattr(model, name) for name in PRIOR_SIGMA])
    weight = ROW_SIGMA / np.array(list(PRIOR_SIGMA.values()))

    def at(x: NDArray[np.float64]) -> CycleModel:
        return replace(model, **dict(zip(PRIOR_SIGMA, np.exp(x).tolist(), strict=True)))

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([residuals(at(x), observations), weight * (x - prior)])

    return at(least_squares(loss, prior).x) if observations else model


def leave_one_model_out(model: CycleModel, observations: Sequence[Observation]) -> NDArray[np.float64]:
    """Log of emulated / measured of each, with all observations of its model left out of the fit."""
    found = np.zeros(len(observations))
    for group in {o.group for o in observations}:
        others = fit(model, [o for o in observations if o.group != group])
        for at, observation in enumerate(observations):
            if observation.group == group:
                found[at] = residuals(others, [observation])[0]
    return found


def root_mean_square(errors: Sequence[float] | NDArray[np.float64]) -> float:
    """Of log errors: one standard deviation, if they have no bias."""
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else 0.0


def rewritten(profile_text: str, values: Mapping[str, float], source: str, confidence: Confidence) -> str:
    """A profile's text with other values of facts of its `[emulation]`, and where they come from now.

    Raises:
        ConfigError: It has no such fact.
    """
    for name, value in values.items():
        line = re.compile(rf'^{name} = \{{ value = [^,]+, unit = ("[^"]*"), .*\}}$', re.MULTILINE)
        head, found, body = profile_text.partition("\n[emulation]\n")
        origin = f'source = "{source}", confidence = "{confidence}"'
        fact = f"{name} = {{ value = {value:.4g}, unit = \\1, {origin} }}"
        body, changed = line.subn(fact, body, count=1)
        if not found or not changed:
            raise ConfigError(f"the profile has no emulation.{name} to change")
        profile_text = head + found + body
    return profile_text
