"""An oracle of a made-up board: real in form, quick to make."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))
from mixed_truth import INT8, MixedTruth, trial_of

from edgeopt.bench.coverage import mix
from edgeopt.bench.oracle import Oracle
from edgeopt.core.artifact import Artifact
from edgeopt.search.layout import Layout


def oracle(count: int = 60, blocks: int = 4, sensitive: int = 2) -> Oracle:
    """Two references and `count` mixes; int8 in the first regions loses accuracy."""
    truth, rng = MixedTruth(blocks=blocks), np.random.default_rng(7)
    layout = Layout(truth.space)
    names = [region.name for region in truth.regions[:sensitive]]
    candidates = [truth.space.default(), truth.uniform(INT8)]
    while len(candidates) < count + 2:
        candidate = layout.decode(mix(layout, rng))
        if candidate not in candidates:
            candidates.append(candidate)
    trials = []
    for number, candidate in enumerate(candidates):
        drop = 0.006 * sum(candidate.chosen(f"precision@{name}") == INT8 for name in names)
        trial = trial_of(number, candidate, truth.latency_ms(candidate), drop)
        if trial.artifact is None:
            trial = replace(trial, reason=f"accuracy drops by {drop:.3g}, 0.01 is allowed (n = 1000)")
        else:
            trial = replace(
                trial, artifact=Artifact(candidate.key, Path(f"/{number}.onnx"), candidate.key, 1000)
            )
        kind = "baseline" if number == 0 else "reference" if number == 1 else "candidate"
        trials.append(replace(trial, kind=kind, name=kind))
    context = truth.context([])
    return Oracle(
        about={"model": "made-up", "device": "nowhere", "provenance": "measured"},
        space=truth.space,
        objective=context.objective,
        trials=trials,
        sources=[trial.kind for trial in trials],
        original_score=0.9,
        region_ms={},
        region_noise={INT8: {region.name: 0.001 for region in truth.regions}},
    )
