"""Made-up boards that run a search space: what policies are trained on and searches are compared on.

Costs are drawn once per board, on purpose not from the surrogate's prior: kernels have rates of their own,
repeated blocks behave alike but not equally, conversions depend on place, direction and the pair of
precisions, three regions in a row interact, measurements are noisy, and the profiles of regions are off.
Where a constant is anchored in something that was measured, it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import MaxDrop, Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Accuracy, State, Trial
from edgeopt.search.context import RegionNoise, RegionTimes, SearchContext
from edgeopt.search.initial import InitialPolicy
from edgeopt.search.layout import FAMILIES, Codes, Layout
from edgeopt.search.neighbours import uniform
from edgeopt.search.prior import left_out

Floats = NDArray[np.float64]

CORES: Mapping[str, tuple[float, float, float]] = {
    "a53": (6.0, 2.2, 0.60),
    "a72": (11.0, 4.0, 0.50),
    "a76": (33.0, 9.0, 0.28),
    "x86": (60.0, 15.0, 0.45),
}
"""Achieved float32 GFLOP/s and GB/s of one core, and the time of int8 kernels relative to float32's.
MobileNetV2 on one thread takes 340 and 210 ms (float32, int8) on an emulated A53, 87 and 38 on an A72, 39 and
11.7 on an A76."""
CALL_MS = 0.004
"""Of one operator more."""
MIXING = (0.5, 2.5)
"""What converting every edge costs, in units of the float32 figure. Random mixes of MobileNetV2 on x86 take
4.6 to 12.1 ms, all float32 8.0, all int8 3.8."""
SCORE = 0.9
SAMPLES = 400
REFERENCES = 5
"""Most of them; they are measured whatever they lose."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a simulated board charges, over P points of at most K options, E edges, V precisions, R regions.

    Attributes:
        region_ms: `(R,)` of the default model.
        option_ms: `(P, K)` change of an option against its point's default.
        edge_ms: `(E, V, V)` conversion on an edge, by the precisions at its ends.
        crowd_ms: `(P,)` for each neighbour beyond the first that computes in another precision.
        factor: `(P, K)` log factor of runtime options.
        drop: `(P, K)` absolute loss of the metric.
        kept: `(P, K)` share of its region's time that a structure leaves, whatever the precision.
        read: `(P, K)` share that it leaves of the time of the regions that read from there.
        noise: Relative standard deviation of a measured time.
    """

    region_ms: Floats
    option_ms: Floats
    edge_ms: Floats
    crowd_ms: Floats
    factor: Floats
    drop: Floats
    kept: Floats
    read: Floats
    noise: float


class SimulatedBoard:
    """One kind of core with one space on it.

    Attributes:
        allowed_drop: Of the metric, absolute.
        region_ms: Profiles of uniform models, as a study would have them: with errors, or none.
        region_noise: Sensitivities, the same.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator, core: str | None = None) -> None:
        self.space, self.layout = space, Layout(space)
        self.core = core or str(rng.choice(list(CORES)))
        self.allowed_drop = 0.01
        self.truth = _draw(self.layout, self.core, self.allowed_drop, rng)
        self.region_ms: RegionTimes = _profiles(self.layout, self.truth, rng) if rng.uniform() < 0.7 else {}
        self.region_noise: RegionNoise = _noises(self.layout, self.truth, rng) if rng.uniform() < 0.7 else {}

    def figure_ms(self, codes: Codes) -> Floats:
        """`(B,)` true median latency of candidates `(B, P)`."""
        layout, truth, points = self.layout, self.truth, np.arange(self.layout.count)
        ends = layout.spoken(codes)[:, layout.edges]
        total = truth.region_ms.sum() + truth.option_ms[points, codes].sum(axis=1)
        total += self._restructured_ms(codes)
        total += truth.edge_ms[np.arange(len(layout.edges)), ends[..., 0], ends[..., 1]].sum(axis=1)
        differing = np.zeros((len(codes), layout.count + 1))
        for e, both in enumerate(layout.edges):
            differing[:, both] += (ends[:, e, 0] != ends[:, e, 1])[:, None]
        total += np.maximum(differing[:, :-1] - 1, 0) @ truth.crowd_ms
        least = 0.02 * truth.region_ms.sum()
        return np.asarray(np.maximum(total, least) * np.exp(truth.factor[points, codes].sum(axis=1)))

    def _restructured_ms(self, codes: Codes) -> Floats:
        """`(B,)` what structures change: shares of the time that a region takes in its precision."""
        layout, truth = self.layout, self.truth
        changed = layout.points_of("structure")
        if not len(changed):
            return np.zeros(len(codes))
        names = {region.name: r for r, region in enumerate(self.space.regions)}
        whole = np.tile(truth.region_ms, (len(codes), 1))
        for p in np.flatnonzero(layout.region >= 0):
            whole[:, layout.region[p]] += truth.option_ms[p, codes[:, p]]
        share = np.ones_like(whole)
        for p in changed:
            here = layout.region[p]
            share[:, here] *= truth.kept[p, codes[:, p]]
            for r, region in enumerate(self.space.regions):
                if here in [names[name] for name in region.predecessors if name in names]:
                    share[:, r] *= truth.read[p, codes[:, p]]
        return np.asarray((whole * (share - 1)).sum(axis=1))

    def drop(self, codes: Codes) -> Floats:
        """`(B,)` true drop of the metric."""
        return np.asarray(self.truth.drop[np.arange(self.layout.count), codes].sum(axis=1))

    def gain(self, codes: Codes) -> Floats:
        """`(B,)` log of how many times faster than the default; what breaks the budget is worth less than
        changing nothing."""
        gains = np.log(self.figure_ms(self.layout.default[None]) / self.figure_ms(codes))
        return np.asarray(np.where(self.drop(codes) <= self.allowed_drop, gains, np.minimum(gains, 0) - 0.2))

    def trial(self, number: int, candidate: Candidate, rng: np.random.Generator) -> Trial:
        """What a study would hold of a candidate: measured with noise; not at all if it loses too much."""
        codes = self.layout.encode([candidate])
        true_ms, true_drop = float(self.figure_ms(codes)[0]), float(self.drop(codes)[0])
        lost = rng.binomial(SAMPLES, min(max(true_drop, 0.0), 1.0)) / SAMPLES
        accuracy = Accuracy(SCORE - lost, lost, None, SAMPLES, "labels", "search")
        state: State = "COMPLETE" if lost <= self.allowed_drop + 1e-9 else "INFEASIBLE"
        if state == "INFEASIBLE" and number >= REFERENCES:
            return Trial(number, candidate, state, accuracy=accuracy, reason="accuracy")
        ms = true_ms * float(np.exp(rng.normal(0, self.truth.noise)))
        error_ms = 1.96 * self.truth.noise * ms
        latency = Quantity(ms, "ms", ms - error_ms, ms + error_ms, "emulated", "simulated")
        artifact = Artifact(candidate.key, Path("/simulated"), candidate.key, 1)
        return Trial(
            number, candidate, state, artifact=artifact, measurement=Measurement(latency), accuracy=accuracy
        )

    def references(self) -> list[Candidate]:
        """What every study measures first: the default, and one precision everywhere."""
        rows = np.unique(np.concatenate([self.layout.default[None], uniform(self.layout)]), axis=0)
        first = (rows == self.layout.default).all(axis=1)
        ordered = np.concatenate([rows[first], rows[~first]])[:REFERENCES]
        return [self.layout.decode(row) for row in ordered]

    def context(self, history: list[Trial], seed: int, policy: InitialPolicy | None = None) -> SearchContext:
        """A study's context over `history`, which may grow."""
        return SearchContext(
            self.space, Objective("latency", MaxDrop(self.allowed_drop, relative=False)), seed, None,
            lambda: history, lambda: SCORE, lambda: self.region_ms, lambda: self.region_noise,
            policy or InitialPolicy(),
        )  # fmt: skip


def _draw(layout: Layout, core: str, allowed: float, rng: np.random.Generator) -> Truth:
    gflops, gbytes, int8 = CORES[core]
    regions = layout.space.regions
    # How well a kernel does depends on its shape: alike in repeated blocks.
    luck: dict[str, float] = {}
    skill: dict[str, float] = {}
    region_ms, compute = np.zeros(len(regions)), np.zeros(len(regions))
    for i, region in enumerate(regions):
        pattern = region.pattern
        luck.setdefault(pattern, float(rng.lognormal(0, 0.4)))
        skill.setdefault(pattern, int8 * float(rng.lognormal(0, 0.3)))
        compute[i] = region.flops / gflops / 1e6 * luck[pattern] * rng.lognormal(0, 0.05)
        moved = region.weight_bytes + region.input_bytes + region.output_bytes
        region_ms[i] = compute[i] + moved / gbytes / 1e6 + CALL_MS
    total = float(region_ms.sum())
    shape = (layout.count, layout.width)
    option_ms, factor, drop = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    kept, read = np.ones(shape), np.ones(shape)
    sensitivity = {r.name: float(rng.lognormal(0, 1.5)) for r in regions}
    for p, point in enumerate(layout.space.points):
        r = int(layout.region[p])
        here = region_ms[r] if r >= 0 else total
        for k, option in enumerate(point.options):
            if option == point.default:
                continue
            if point.family == "precision":
                ratio = _ratio(option, skill[regions[r].pattern], regions[r].op_types)
                option_ms[p, k] = (ratio * rng.lognormal(0, 0.08) - 1) * here
                drop[p, k] = sensitivity[regions[r].name] * _harm(option)
            elif point.family == "runtime":
                factor[p, k] = _runtime(point.name, option, point.default, rng)
            elif point.family == "structure":
                kept[p, k], read[p, k], drop[p, k] = _narrowed(
                    1 - left_out(option), regions[r].name, sensitivity, rng
                )
            elif point.family == "quantization":
                drop[p, k] = 0.1 * allowed * rng.normal()
            else:
                option_ms[p, k] = -here * rng.normal(0.03, 0.04)
    lossy = layout.family == FAMILIES.index("precision")
    worst = max(float(drop[lossy].max(axis=1).sum()), 1e-12) if lossy.any() else 1.0
    drop[lossy] *= allowed * float(rng.lognormal(0.3, 1.0)) / worst
    cut = layout.points_of("structure")
    if len(cut):
        drop[cut] *= allowed * float(rng.lognormal(0.7, 0.7)) / max(float(drop[cut].max(axis=1).sum()), 1e-12)
    edge_ms, crowd_ms = _conversions(layout, total * rng.uniform(*MIXING), rng)
    return Truth(
        region_ms, option_ms, edge_ms, crowd_ms, factor, drop, kept, read, float(rng.uniform(0.005, 0.03))
    )


def _narrowed(
    width: float, region: str, sensitivity: Mapping[str, float], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Shares of its own time and of its readers' that a width leaves, and its harm, not yet scaled.

    Kernels do not shrink quite as their arithmetic does; what is lost grows faster than what is cut, as after
    recovery on the examples (docs/search.md).
    """
    own = width ** float(rng.uniform(0.7, 1.0))
    readers = width ** float(rng.uniform(0.5, 1.0))
    return own, readers, sensitivity[region] * (1 - width) ** 2


def _conversions(layout: Layout, whole_ms: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Cost of each edge by the words at its ends, and of further neighbours that differ."""
    words, count = len(layout.words), max(len(layout.edges), 1)
    static = np.array(["static" in word for word in layout.words])
    # Only static int8 changes what is passed on; two static schemes have scales of their own.
    apart = np.where(static[:, None] != static[None, :], 1.0, 0.0)
    apart = np.where(static[:, None] & static[None, :], 0.3 * rng.uniform(), apart)
    apart = apart * rng.lognormal(0, 0.3, (words, words)) * (1 - np.eye(words))
    size = layout.edge_bytes / max(float(layout.edge_bytes.mean()), 1.0) if len(layout.edges) else np.zeros(0)
    place = (0.5 + 0.5 * size) * rng.lognormal(0, 0.5, len(layout.edges)) * whole_ms / count
    crowd = rng.exponential(0.5, layout.count) * whole_ms / count * rng.choice([-0.3, 1.0], layout.count)
    return place[:, None, None] * apart, crowd


def _ratio(option: str, skill: float, op_types: tuple[str, ...]) -> float:
    """Time of an option's kernels, relative to float32's."""
    matrix = any(op in ("MatMul", "Gemm", "LSTM", "GRU", "Attention") for op in op_types)
    if "static" in option:
        return skill
    if "dynamic" in option:
        return 1.25 * skill if matrix else 1.2
    return 1.05 if "float16" in option else 1.1


def _harm(option: str) -> float:
    """Of an option's noise, relative to static int8 with a scale per channel."""
    if "float16" in option:
        return 0.01
    if "int4" in option:
        return 3.0
    return 2.0 if "tensor" in option else 0.4 if "dynamic" in option or "weights" in option else 1.0


def _runtime(name: str | None, option: str, default: str, rng: np.random.Generator) -> float:
    if name != "threads":
        return float(rng.normal(0.05, 0.08))
    parallel = rng.uniform(0.5, 0.95)
    times = [1 - parallel + parallel / max(int(text), 1) for text in (option, default)]
    return float(np.log(times[0] / times[1]))


def _profiles(layout: Layout, truth: Truth, rng: np.random.Generator) -> RegionTimes:
    """Measured times of regions under each static scheme, 15 % off."""
    times = dict(zip((r.name for r in layout.space.regions), truth.region_ms, strict=True))
    found = {layout.words[0]: {n: float(ms * rng.lognormal(0, 0.15)) for n, ms in times.items()}}
    for p, point in enumerate(layout.space.points):
        for k, option in enumerate(point.options):
            if point.family == "precision" and "static" in option and point.region:
                ms = times[point.region] + truth.option_ms[p, k]
                found.setdefault(option, {})[point.region] = float(ms * rng.lognormal(0, 0.15))
    return found


def _noises(layout: Layout, truth: Truth, rng: np.random.Generator) -> RegionNoise:
    """Sensitivity of regions, in the right order of magnitude."""
    found: dict[str, dict[str, float]] = {}
    scale = 0.01 / max(float(truth.drop.sum()), 1e-12)
    for p, point in enumerate(layout.space.points):
        for k, option in enumerate(point.options):
            if point.family == "precision" and point.region and option != point.default:
                noise = truth.drop[p, k] * scale * rng.lognormal(0, 0.5)
                found.setdefault(option, {})[point.region] = float(noise)
    return found
