"""What is asked for: constraints first, then one figure to make small."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeopt.core.artifact import Artifact
from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError
from edgeopt.core.measurement import Measurement
from edgeopt.core.trial import Accuracy, Trial

ObjectiveName = Literal["latency", "p95", "cold-start", "energy", "memory", "size", "utilization"]
OBJECTIVES: tuple[ObjectiveName, ...] = (
    "latency", "p95", "cold-start", "energy", "memory", "size", "utilization",
)  # fmt: skip

SLACK = 1.05
"""What the objective does not ask for may be this much worse than the original's, unless it may be worse."""

SCREENING_SLACK = 1.05
"""How much slower than it is a candidate may look in its screening, which carries noise."""

Regression = Literal["latency", "p95", "memory", "size", "cold-start"]
REGRESSIONS: tuple[Regression, ...] = ("latency", "p95", "memory", "size", "cold-start")
"""What may get worse while something else gets better."""


@dataclass(frozen=True, slots=True)
class MaxDrop:
    """How much of the metric may be lost: `1%` of the original's score, or `0.01` absolute."""

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> MaxDrop:
        """Read `1%` or `0.01`.

        Raises:
            ConfigError: Neither form, or negative.
        """
        try:
            relative = text.strip().endswith("%")
            value = float(text.strip().rstrip("%")) / (100 if relative else 1)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ConfigError(f"--max-drop {text!r} is neither a percentage (1%) nor a number (0.01)")
        return cls(value, relative)

    def allowed(self, original_score: float) -> float:
        """The absolute drop allowed for an original that scores `original_score`."""
        return self.value * abs(original_score) if self.relative else self.value

    def __str__(self) -> str:
        return (
            f"{self.value:.3g} absolute" if not self.relative else f"{self.value:.3%} of the original's score"
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard constraints; None is unconstrained.

    Attributes:
        min_utilization: Least roofline fraction, 0..1: of the arithmetic that the board could do. How busy
            the CPU is says nothing: spinning threads keep it busy, too.
    """

    max_latency_ms: float | None = None
    max_p95_ms: float | None = None
    max_memory_bytes: float | None = None
    max_size_bytes: float | None = None
    max_power_w: float | None = None
    max_cold_start_ms: float | None = None
    min_utilization: float | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """Constraints and the figure to minimise.

    Attributes:
        allow_worse: What may be worse than the original's by more than `SLACK`.
    """

    name: ObjectiveName = "latency"
    max_drop: MaxDrop = field(default_factory=lambda: MaxDrop(0.01, relative=True))
    limits: Limits = field(default_factory=Limits)
    conditions: Setting = field(default_factory=Setting)
    allow_worse: tuple[Regression, ...] = ()

    def value(self, measurement: Measurement, artifact: Artifact) -> float | None:
        """The figure to minimise, corrected for the board's drift where it is a time; None if unknown."""
        figures = {
            "latency": measurement.p50_ms,
            "p95": measurement.p95_ms,
            "cold-start": measurement.cold_start_ms,
            "energy": measurement.energy_mj.value if measurement.energy_mj else None,
            "memory": measurement.peak_rss_bytes,
            "size": artifact.size_bytes,
            "utilization": _times_the_ceiling(measurement),
        }
        value = figures[self.name]
        if value is None:
            return None
        timed = self.name in ("latency", "p95", "cold-start", "utilization")
        return float(value) / (measurement.drift or 1.0) if timed else float(value)

    @property
    def is_modelled(self) -> bool:
        """Whether a board that is not hardware gets this figure from its model, with the model's error.

        A file's size is what it is, and memory is what a guest really used.
        """
        return self.name not in ("memory", "size")

    def per_process(self, measurement: Measurement) -> tuple[float, ...]:
        """The figure of each fresh process, where it has one: what an interval can be drawn from."""
        figures = {
            "latency": measurement.process_p50_ms,
            "p95": measurement.process_p95_ms,
            "cold-start": measurement.process_cold_start_ms,
            "utilization": _each_times_the_ceiling(measurement),
            "energy": measurement.process_energy_mj,
            "memory": tuple(float(rss_bytes) for rss_bytes in measurement.process_peak_rss_bytes),
        }
        return figures.get(self.name, ())

    def accuracy_violation(self, accuracy: Accuracy | None, original_score: float | None) -> str | None:
        """Why the accuracy is not good enough; None if it is, or if there is no data to say."""
        if accuracy is None or accuracy.drop is None or original_score is None:
            return None
        allowed = self.max_drop.allowed(original_score)
        # A score is a ratio of whole samples: forgive the rounding of the subtraction, nothing more.
        if accuracy.drop <= allowed + 1e-9:
            return None
        return f"accuracy drops by {accuracy.drop:.3g}, {allowed:.3g} is allowed (n = {accuracy.n})"

    def size_violation(self, artifact: Artifact) -> str | None:
        """Why the file is too large: known before any board time is spent."""
        return _over("size", artifact.size_bytes, self.limits.max_size_bytes, "bytes")

    def limit_violation(self, measurement: Measurement) -> str | None:
        """The first hard limit that a measurement breaks, in words."""
        power_w = measurement.power_w.value if measurement.power_w else None
        return (
            _over("latency", measurement.p50_ms, self.limits.max_latency_ms, "ms")
            or _over("p95", measurement.p95_ms, self.limits.max_p95_ms, "ms")
            or _over("cold start", measurement.cold_start_ms, self.limits.max_cold_start_ms, "ms")
            or _over("peak memory", measurement.peak_rss_bytes, self.limits.max_memory_bytes, "bytes")
            or _under("utilization", measurement.roofline_fraction, self.limits.min_utilization)
            or _over("power", power_w, self.limits.max_power_w, "W")
        )

    def ceilings(self, original: Trial | None) -> dict[str, float]:
        """What a screening may show at most of who is to win beside this original: ms, bytes, bytes.

        Who is over needs not be searched for. p95 and cold start are too noisy in a screening to say so.
        None of an original that breaks a hard limit itself: there anything may be the better choice.
        """
        if original is None or original.state != "COMPLETE" or original.measurement is None:
            return {}
        figures: dict[Regression, float | None] = {
            "latency": SCREENING_SLACK * original.measurement.p50_ms,
            "memory": original.measurement.peak_rss_bytes,
            "size": original.artifact.size_bytes if original.artifact else None,
        }
        return {
            name: SLACK * value
            for name, value in figures.items()
            if value and name != self.name and name not in self.allow_worse
        }

    def regression(self, name: Regression, value: float | None, original: Trial | None) -> str | None:
        """Why a figure is too much worse than the original's for its artifact to win, in words."""
        ceiling = self.ceilings(original).get(name)
        if ceiling is None or value is None or value <= ceiling:
            return None
        allowed = SLACK * (SCREENING_SLACK if name == "latency" else 1.0)
        return f"{worse(name, value / ceiling * allowed)} (--allow-worse {name})"

    def of_trial(self, trial: Trial) -> float | None:
        """`value` of a trial that satisfied everything; None for any other."""
        if trial.state != "COMPLETE" or trial.measurement is None or trial.artifact is None:
            return None
        return self.value(trial.measurement, trial.artifact)


def worse(name: Regression, ratio: float) -> str:
    """How much worse than the original's, in words."""
    return f"{name} is {ratio - 1:.0%} worse than the original's"


def _over(what: str, value: float | None, limit: float | None, unit: str) -> str | None:
    if limit is None:
        return None
    if value is None:
        return f"{what} is limited to {limit:g} {unit}, but this board cannot tell it"
    return None if value <= limit else f"{what} {value:.4g} {unit} is over the limit of {limit:g} {unit}"


def _under(what: str, value: float | None, limit: float | None) -> str | None:
    if limit is None:
        return None
    if value is None:
        return f"{what} is to be {limit:.1%} at least, but this board cannot tell it"
    return None if value >= limit else f"{what} {value:.1%} is under the limit of {limit:.1%}"


def _times_the_ceiling(measurement: Measurement) -> float | None:
    """How many times longer an inference takes than its arithmetic at the board's peak: 1 is the roofline."""
    return 1 / measurement.roofline_fraction if measurement.roofline_fraction else None


def _each_times_the_ceiling(measurement: Measurement) -> tuple[float, ...]:
    if not measurement.roofline_fraction:
        return ()
    ceiling_ms = measurement.p50_ms * measurement.roofline_fraction
    return tuple(p50_ms / ceiling_ms for p50_ms in measurement.process_p50_ms)
