"""A made-up board on which mixing precisions costs more than the layers gain, as measured on MobileNetV2.

Float takes 8.0 ms, int8 everywhere 3.8 ms, random mixes between: about 4.6 to 12 ms.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import MaxDrop, Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.core.trial import Accuracy, State, Trial
from edgeopt.search.context import SearchContext

INT8 = "int8_static_channel"
DIGEST = "d" * 64


def quantity(ms: float) -> Quantity:
    return Quantity(ms, "ms", ms * 0.98, ms * 1.02, "measured", "clock")


def trial_of(
    number: int, candidate: Candidate, ms: float | None, drop: float | None = None, allowed: float = 0.01
) -> Trial:
    """What a study would hold of `candidate`."""
    accuracy = None if drop is None else Accuracy(0.9 - drop, drop, None, 1000, "labels", "search")
    state: State = "INFEASIBLE" if drop is not None and drop > allowed else "COMPLETE"
    measurement = None if ms is None or state == "INFEASIBLE" else Measurement(latency=quantity(ms))
    artifact = None if measurement is None else Artifact(candidate.key, None, candidate.key, 1000)  # type: ignore[arg-type]
    return Trial(number, candidate, state, artifact=artifact, measurement=measurement, accuracy=accuracy)


class MixedTruth:
    """Blocks of (expand, depthwise, project) with skip connections; costs drawn once from a seed."""

    def __init__(self, blocks: int = 17, seed: int = 0, options: tuple[str, ...] = ("float32", INT8)) -> None:
        rng = np.random.default_rng(seed)
        regions: list[Region] = []
        for b in range(blocks):
            pattern = f"block{b // 3}"
            for step in ("expand", "depthwise", "project"):
                name = f"/b{b}/{step}"
                before = (regions[-1].name,) if regions else ()
                skip = (f"/b{b - 1}/project",) if step == "expand" and b and b % 2 else ()
                size = int(rng.integers(20, 400)) * 1000
                read = regions[-1].output_bytes if regions else 600_000
                flops = int(rng.integers(2, 20)) * 1_000_000
                regions.append(
                    Region(
                        name,
                        f"{pattern}/{step}",
                        (name,),
                        ("Conv",),
                        ("x",),
                        ("y",),
                        tuple(dict.fromkeys(before + skip)),
                        flops,
                        flops // 100,
                        read,
                        size,
                    )
                )
        self.regions = tuple(regions)
        points = [DecisionPoint(f"precision@{r.name}", options, "float32") for r in regions]
        points.append(DecisionPoint("runtime:threads", ("1", "2"), "2"))
        self.space = SearchSpace(DIGEST, tuple(points), self.regions)
        flops = np.array([r.flops for r in regions], dtype=float)
        pattern_noise = {r.pattern: rng.uniform(0.6, 1.4) for r in regions}
        float_ms = flops * np.array([pattern_noise[r.pattern] for r in regions])
        self.float_ms = dict(zip([r.name for r in regions], 8.0 * float_ms / float_ms.sum(), strict=True))
        ratio = {r.pattern: rng.uniform(0.3, 0.65) for r in regions}
        int8 = {r.name: self.float_ms[r.name] * ratio[r.pattern] for r in regions}
        scale = 3.8 / sum(int8.values())
        self.option_ms: dict[str, Mapping[str, float]] = {
            option: ({n: ms * scale for n, ms in int8.items()} if option != "float32" else self.float_ms)
            for option in options
        }
        self.by_name = {r.name: r for r in regions}
        # Conversions differ by place and direction in ways that nobody could have guessed.
        self.edge_noise = {(a, r.name): rng.lognormal(0.0, 0.4) for r in regions for a in r.predecessors}
        self.penalty: dict[str, float] = {}
        """Extra ms of an option at a site, to make a board dislike it."""

    def latency_ms(self, candidate: Candidate) -> float:
        chosen = {r.name: candidate.chosen(f"precision@{r.name}", "float32") or "" for r in self.regions}
        total = sum(self.option_ms[option][name] for name, option in chosen.items())
        for region in self.regions:
            for name in region.predecessors:
                if chosen[name] != chosen[region.name]:
                    conversion = 0.05 + 0.0006 * self.by_name[name].output_bytes / 1000
                    direction = 1.3 if chosen[name] == "float32" else 0.7
                    total += conversion * direction * self.edge_noise[name, region.name]
        total += sum(ms for option, ms in self.penalty.items() if option in chosen.values())
        return total * (1.6 if candidate.chosen("runtime:threads") == "1" else 1.0)

    def uniform(self, option: str) -> Candidate:
        return self.space.candidate({f"precision@{r.name}": option for r in self.regions})

    def mix(self, rng: np.random.Generator) -> Candidate:
        """Runs of random length of one precision, with a random share of int8; threads at the default."""
        share, stay = rng.uniform(), rng.choice([0.0, 0.5, 0.8])
        decisions, last = {}, "float32"
        for region in self.regions:
            if rng.uniform() > stay:
                last = INT8 if rng.uniform() < share else "float32"
            decisions[f"precision@{region.name}"] = last
        return self.space.candidate(decisions)

    def context(self, history: list[Trial], **changes: object) -> SearchContext:
        settings = {
            "objective": Objective("latency", MaxDrop(0.01, relative=False)),
            "seed": 0,
            "folder": None,
        }
        return SearchContext(space=self.space, history=lambda: history, **(settings | changes))  # type: ignore[arg-type]
