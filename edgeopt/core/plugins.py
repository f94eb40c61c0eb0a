"""Finds plugins by file name: to add one, add one file.

A family is a package (`edgeopt.graph.rewrites`, ...). The stem of each module in it that does not start
with `_` is the name of a plugin, in the command line, in TOML and in a candidate. Other distributions add
theirs with an entry point of the group `edgeopt.<family>`. Listing imports nothing.

Each module exposes the one object that its family's Protocol asks for (see `FAMILIES`), and `EXAMPLES`,
on which `edgeopt.testing` runs the family's conformance suite.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from edgeopt.core.errors import ConfigError

FAMILIES = {
    "rewrites": "edgeopt.graph.rewrites",
    "precision": "edgeopt.graph.precision",
    "structure": "edgeopt.graph.structure",
    "samplers": "edgeopt.search.samplers",
    "meters": "edgeopt.boards.meters",
    "transports": "edgeopt.boards.transports",
}


@cache
def names(family: str) -> tuple[str, ...]:
    """The plugins of a family, sorted, without importing any."""
    return tuple(sorted(_modules(family)))


@cache
def load(family: str, name: str) -> ModuleType:
    """Import one plugin by name.

    Raises:
        ConfigError: No such plugin; the hint lists those there are.
    """
    modules = _modules(family)
    if name not in modules:
        raise ConfigError(
            f"unknown {family.rstrip('s')} {name!r}", hint=f"known: {', '.join(sorted(modules))}"
        )
    return importlib.import_module(modules[name])


def _modules(family: str) -> dict[str, str]:
    package = FAMILIES[family]
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    stems = (path.stem for folder in folders for path in Path(folder).glob("*.py"))
    found = {stem: f"{package}.{stem}" for stem in stems if not stem.startswith("_")}
    return found | {point.name: point.value for point in entry_points(group=f"edgeopt.{family}")}
