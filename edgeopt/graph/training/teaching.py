"""A changed model taught by the original, or the reason why it cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from edgeopt.graph.calibration import Samples
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.structure._distilled import Learnt
from edgeopt.graph.training.distil import distil
from edgeopt.graph.training.operators import Untrainable
from edgeopt.graph.training.samples import Lessons, lessons
from edgeopt.runtimes.onnxruntime import Session

OPTIONS = {"graph_optimization_level": "basic"}


def teach(
    original: Model,
    changed: Model,
    parts: Sequence[Samples],
    known: Lessons | None,
    *,
    end_s: float,
    seed: int,
    has_classes: bool,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Learnt, Lessons | None]:
    """Distil, and note what that brought; the answers of the original are returned to be used again.

    Args:
        parts: Unlabelled samples, the first first.
        end_s: Of the clock, when it has to end.
        known: The answers, from an earlier call with the same parts.

    Raises:
        ModelError: The runtime refuses a model.
        CandidateFailed: A model cannot compute a sample.
    """
    try:
        known = known or lessons(to_bytes(original.ir), parts, seed)
        result = distil(
            original.ir.graph, changed.ir, known,
            end_s=end_s, seed=seed, has_classes=has_classes,
            expected=Session(to_bytes(changed.ir), OPTIONS).run, clock=clock,
        )  # fmt: skip
    except Untrainable as refusal:
        return Learnt({}, {"refused": refusal.message}), known
    facts = {name: value for name, value in asdict(result).items() if name != "weights"}
    return Learnt(result.weights, facts), known
