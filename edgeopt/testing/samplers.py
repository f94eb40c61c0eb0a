"""What every sampler must do: run it on a module of `edgeopt.search.samplers` (or of a plugin)."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import MaxDrop, Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.search.context import SearchContext
from edgeopt.search.samplers import Example

GIVEN = 8
"""Random candidates measured first, so that samplers are past their start-up."""
TRIALS = 3


def check(module: ModuleType) -> None:
    """Run the whole suite over a module's `EXAMPLES`.

    Raises:
        AssertionError: The sampler breaks the contract; says how.
    """
    examples = module.EXAMPLES
    _require(len(examples) > 0, "EXAMPLES is empty")
    for example in examples:
        if example.refused is not None:
            _refuses(module, example)
        else:
            _proposes(module, example.space)


def _refuses(module: ModuleType, example: Example) -> None:
    context = SearchContext(example.space, Objective(), 0, None, list)
    try:
        module.create(context)
    except ConfigError as error:
        text = str(error)
        _require(str(example.refused) in text, f"the reason {text!r} does not say {example.refused!r}")
        _require(bool(error.hint), "a refusal must hint at what to use instead")
    else:
        raise AssertionError("accepted a space that it should refuse")


def _proposes(module: ModuleType, space: SearchSpace) -> None:
    first = run(module.create, space, seed=1)
    for candidate in first:
        space.validate(candidate)
    again = run(module.create, space, seed=1, stops=(GIVEN + 2,))
    _require(first[:2] == again[:2], "the same seed and the same measurements gave other proposals")
    _require(first == again, "proposals changed when the sampler was made anew in the middle (resume)")


def run(
    create: Callable[[SearchContext], Any],
    space: SearchSpace,
    seed: int,
    trials: int = TRIALS,
    stops: tuple[int, ...] = (),
    measure: Callable[[Candidate], float] | None = None,
) -> list[Candidate]:
    """Search a made-up board after `GIVEN` random trials; returns what was proposed.

    Args:
        stops: Trial numbers before which the sampler is thrown away and made again.
        measure: Candidate -> ms; by default int8 helps, alternating precisions hurts.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cost = measure or _cost
    rng = random.Random(seed)  # noqa: S311  (not for secrets)
    given = [space.candidate({p.site: rng.choice(p.options) for p in space.points}) for _ in range(GIVEN)]
    history = [_trial(number, candidate, cost(candidate)) for number, candidate in enumerate(given)]
    with tempfile.TemporaryDirectory() as folder:
        context = SearchContext(
            space, Objective(max_drop=MaxDrop(0.01, False)), seed, Path(folder), lambda: history
        )
        study = optuna.create_study(sampler=create(context))
        distributions = {
            p.site: optuna.distributions.CategoricalDistribution(p.options) for p in space.points
        }
        for trial in history:
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(trial.candidate.decisions),
                    distributions=dict(distributions),
                    value=cost(trial.candidate),
                )
            )
        for number in range(GIVEN, GIVEN + trials):
            if number in stops:
                study.sampler = create(context)
            asked = study.ask(dict(distributions))
            candidate = space.candidate(asked.params)
            history.append(_trial(number, candidate, cost(candidate)))
            study.tell(asked, cost(candidate))
    return [trial.candidate for trial in history[GIVEN:]]


def _cost(candidate: Candidate) -> float:
    chosen = list(candidate.of_family("precision").values())
    changes = sum(a != b for a, b in pairwise(chosen))
    return 10.0 - 4.0 * chosen.count("int8") / len(chosen) + 0.3 * changes


def _trial(number: int, candidate: Candidate, ms: float) -> Trial:
    measurement = Measurement(latency=Quantity(ms, "ms", ms * 0.99, ms * 1.01, "measured", "clock"))
    artifact = Artifact(candidate.key, Path("/none"), candidate.key, 1000)
    return Trial(number, candidate, "COMPLETE", artifact=artifact, measurement=measurement)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
