"""Changes of the model's inputs that the user allowed: checked, tried early, and told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.interface import Levels
from edgeopt.core.objective import Objective
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.graph import rewriting
from edgeopt.graph.model import Model
from edgeopt.graph.regions import tag
from edgeopt.graph.space import ON

BASES = 2
"""References that are tried with changed inputs before anything else is proposed."""


def check_allowed(names: Collection[str]) -> None:
    """See that each name is one that `--allow-interface` knows.

    Raises:
        ConfigError: One is not; lists those there are.
    """
    known = rewriting.interfaces()
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--allow-interface {unknown[0]!r} is unknown", hint=f"known: {', '.join(known)}")


def described(allowed: Sequence[str], levels: Mapping[str, Levels]) -> dict[str, str]:
    """What is allowed, and of which bytes inputs are made: a study is of both. Empty where nothing is."""
    known = [f"{name}: {made_of}" for name, made_of in levels.items()]
    return {"interface": ", ".join([*allowed, *known])} if allowed else {}


def left_out(model: Model, space: SearchSpace, allowed: Collection[str]) -> Iterator[str]:
    """Of what is allowed but has no place in a frozen model, why: a sentence each.

    Raises:
        ConfigError: Something is allowed that nothing knows.
    """
    check_allowed(allowed)
    missing = [name for name in allowed if not sites(space, (name,))]
    if not missing:
        return
    tagged = model.ir.clone()
    tag(tagged, space.regions)
    heard = {rewriting.changes(refused.rewrite): refused.reason for refused in rewriting.refusals(tagged)}
    for name in missing:
        reason = heard.get(name, "no input of the model is of a kind that it changes")
        yield f"--allow-interface {name} is left out: {reason}"


def sites(space: SearchSpace, allowed: Collection[str]) -> list[str]:
    """The decisions of a space that change an input in one of the allowed ways."""
    return [
        point.site
        for point in space.points
        if point.family == "rewrite" and rewriting.changes(str(point.name)) in allowed
    ]


def starts(
    space: SearchSpace, objective: Objective, trials: Sequence[Trial], allowed: Sequence[str]
) -> Iterator[Candidate]:
    """What to try before the sampler proposes: the best recipes, their inputs changed in each allowed way.

    One switch among hundreds would else be found late; and it goes with others that have no effect alone.
    """
    changes = [name for name in allowed if sites(space, (name,))]
    tried = {trial.candidate for trial in trials}
    known = [
        (figure, trial.number, trial)
        for trial in trials
        if trial.kind == "reference" and (figure := objective.of_trial(trial)) is not None
    ]
    usual = {
        point.site: ON
        for point in space.points
        if point.family == "rewrite" and rewriting.is_usual(str(point.name))
    }
    bases = [dict(trial.candidate.decisions) for _, _, trial in sorted(known, key=lambda one: one[:2])]
    for base in bases[:BASES] or [{}]:
        for size in range(len(changes), 0, -1):
            for chosen in combinations(changes, size):
                decided = base | usual | dict.fromkeys(sites(space, chosen), ON)
                if (candidate := space.settled(decided)) not in tried:
                    tried.add(candidate)
                    yield candidate
