"""Calibrate the emulation of a device against a board of that kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeopt.boards import overlay, schema
from edgeopt.boards.board import Board, Feeds
from edgeopt.boards.virtual import calibration
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.calibration import Observation
from edgeopt.boards.virtual.counting import Counts
from edgeopt.boards.virtual.cycles import Cache, CycleModel, Estimate
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, CandidateFailed
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.profile import DeviceProfile, Fact
from edgeopt.core.progress import Observer

LEAST_MODELS_TO_JUDGE = 3
"""With fewer, leaving one out says nothing, and the error bar stays as it is."""

LEAST_SIGMA = 0.1
"""No error bar is smaller: a few models that agree by luck do not speak for all others. The same floor holds
for those that ship (`benchmarks/emulation_accuracy.py`)."""


class Recording:
    """A cycle model that keeps what it is asked to price."""

    def __init__(self, model: CycleModel) -> None:
        self.model = model
        self.pairwise_error, self.cores = model.pairwise_error, model.cores
        self.caches: Sequence[Cache] = model.caches
        self.last: tuple[Counts, Estimate] | None = None

    def price(self, counts: Counts, threads: int) -> Estimate:
        estimate = self.model.price(counts, threads)
        self.last = (counts, estimate)
        return estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibrating found.

    Attributes:
        before: The model as it was.
        after: With the fitted factors, and the error bar that they earned, at least `LEAST_SIGMA`.
        observations: What was measured and counted.
        judged: Root mean square of the log error, each model left out of the fit that emulates it; None where
            too few models were measured to tell.
        verified: The runtimes on so many threads (`onnxruntime x4`) for which it was judged.
    """

    before: CycleModel
    after: CycleModel
    observations: tuple[Observation, ...]
    judged: float | None
    verified: tuple[str, ...] = ()


def calibrate(
    profile: DeviceProfile,
    real: Board,
    artifacts: Sequence[tuple[str, Artifact]],
    feeds: Feeds,
    protocol: Protocol,
    threads: Sequence[int],
    observer: Observer | None = None,
    open_virtual: Callable[..., Board] = VirtualBoard.open,
) -> Calibration:
    """Measure artifacts on the real board, count them on a virtual one, and fit the factors.

    Args:
        artifacts: Each with its model's name.
        threads: Thread counts to measure each on.

    Raises:
        ConfigError: The device cannot be emulated.
        BoardError: The real board's figures are not measured, it could run none of the artifacts, or this
            machine cannot emulate.
    """
    if real.provenance != "measured":
        raise BoardError(f"{real.name} is {real.provenance}: only a real board can calibrate an emulation")
    settings = [
        (name, replace(artifact, session_options={**artifact.session_options, "threads": count}), count)
        for name, artifact in artifacts
        for count in threads
    ]
    results = real.measure([artifact for _, artifact, _ in settings], feeds, protocol)
    recording = Recording(CycleModel.of(profile))
    observations: list[Observation] = []
    compared: dict[str, set[str]] = {}
    with open_virtual(profile, observer=observer, pricing=recording) as virtual:
        for (name, artifact, count), measured in zip(settings, results, strict=True):
            if not isinstance(measured, Measurement) or measured.validity is not None:
                continue
            recording.last = None
            virtual.compare_with(artifact, feeds)  # with what the board measured, not with another model
            counted = virtual.measure([artifact], feeds, protocol)[0]
            if isinstance(counted, CandidateFailed) or recording.last is None:
                continue
            counts, estimate = recording.last
            compared.setdefault(f"{artifact.runtime} x{count}", set()).add(name)
            observations.append(
                Observation(f"{name} x{count}", name, estimate.cycles, counts.total, count, measured.p50_ms)
            )
    if not observations:
        raise BoardError(f"{real.name} gave no valid measurement to calibrate with")
    verified = [what for what, models in compared.items() if len(models) >= LEAST_MODELS_TO_JUDGE]
    return replace(fitted(recording.model, observations), verified=tuple(verified))


def fitted(before: CycleModel, observations: Sequence[Observation]) -> Calibration:
    """The model fitted to observations, judged by leaving out one model at a time."""
    after = calibration.fit(before, observations)
    judged = None
    if len({o.group for o in observations}) >= LEAST_MODELS_TO_JUDGE:
        judged = calibration.root_mean_square(calibration.leave_one_model_out(before, observations))
        after = replace(after, log_sigma=max(judged, LEAST_SIGMA))
    return Calibration(before, after, tuple(observations), judged)


def save(profile: DeviceProfile, found: Calibration, board: str) -> Path:
    """Keep the fitted factors for all virtual boards of the device.

    Raises:
        BoardError: A factor came out that no board has: something else was measured than was counted.
        EdgeoptError: It cannot be written.
    """
    values = {name: getattr(found.after, name) for name in calibration.PRIOR_SIGMA}
    if found.judged is not None:
        values["log_sigma"] = found.after.log_sigma
    source = f"fitted by edgeopt boards calibrate: {len(found.observations)} measurements of {board}"
    facts = {}
    for name, value in values.items():
        rule, known = schema.SECTIONS["emulation"][name], profile.fact("emulation", name)
        if known is None or (absurd := rule.problem(value)):
            raise BoardError(
                f"{board} does not fit the emulation of a {profile.name}: emulation.{name} {absurd}",
                hint="is it busy with something else, or another kind of board? Nothing was written",
            )
        facts[name] = Fact(float(f"{value:.4g}"), known.unit, source, "medium")
    if found.judged is not None:
        # What the factors were compared with before, they were compared with no more.
        facts["verified"] = Fact(list(found.verified), "runtimes on so many threads", source, "medium")
    path = overlay.device_file(profile.name)
    overlay.write(path, profile.name, board, {"emulation": facts})
    return path
