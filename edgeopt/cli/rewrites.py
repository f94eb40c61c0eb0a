"""`edgeopt rewrites`: what the search can do to a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.graph.explaining import Explained

MOST_NAMED = 3
"""Regions that a line names."""

app = typer.Typer(
    help="Rewrites and precision schemes that the search chooses from.",
    epilog=flags.examples("edgeopt rewrites list", "edgeopt rewrites explain model.onnx"),
)


@app.command("list", epilog=flags.examples("edgeopt rewrites list --json"))
def list_(as_json: flags.Json = False) -> Answer:
    """List rewrites (exact: the outputs stay the same) and precision schemes (lossy: they need data)."""
    from edgeopt.core import plugins

    found = [
        {"family": family, "name": name, "summary": _summary(family, name)}
        for family in ("rewrites", "precision")
        for name in plugins.names(family)
    ]
    document = {
        family: [row for row in found if row["family"] == family] for family in ("rewrites", "precision")
    }
    return Answer(document, lambda: _show(found))


@app.command(
    epilog=flags.examples(
        "edgeopt rewrites explain model.onnx --shape input=1,3,224,224",
        "edgeopt rewrites explain model.onnx --only fold_batchnorm",
    )
)
def explain(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="REWRITE", help="Of this rewrite, every place. Repeat for others."),
    ] = None,
    shape: flags.Shape = None,
    as_json: flags.Json = False,
) -> Answer:
    """Say which rewrites apply to a model and where, and why the others do not.

    Sizes that the model leaves open are taken as 1 unless --shape says them.
    """
    from edgeopt.cli import settings as given
    from edgeopt.core import plugins
    from edgeopt.core.errors import ConfigError
    from edgeopt.graph.explaining import explain as explained
    from edgeopt.graph.model import freeze, load

    known = plugins.names("rewrites")
    if wrong := [name for name in only or [] if name not in known]:
        raise ConfigError(f"no such rewrite: {', '.join(wrong)}", hint="edgeopt rewrites list")
    loaded = load(given.existing(model))
    said = dict(given.data_options(given.settings({("model", "shape"): shape})).shapes)
    open_ = {spec.name: tuple(size or 1 for size in spec.shape) for spec in loaded.inputs}
    found = [one for one in explained(freeze(loaded, open_ | said)) if not only or one.name in only]
    document = {
        "model": model,
        "rewrites": [
            {
                "name": one.name,
                "exact": one.exact,
                "allowed_by": one.allowed_by,
                "applies": one.count,
                "regions": one.places,
                "refused": {reason: list(nodes) for reason, nodes in one.refused.items()},
            }
            for one in found
        ],
    }
    return Answer(document, lambda: _places(found) if only else _overview(found))


def _overview(found: Sequence[Explained]) -> RenderableType:
    """A line for each rewrite that has a place; the others by name."""
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    rows = [
        (one.name, "yes" if one.exact else "no", one.count or "–", _where(one), _why(one))
        for one in found
        if one.count or one.refused
    ]
    others = [one.name for one in found if not one.count and not one.refused]
    parts: list[RenderableType] = [
        table(("rewrite", "exact", "applies", "where", "why not elsewhere"), rows, right=["applies"])
    ]
    if others:
        parts.append(
            Text(f"Nothing in the model looks like what these look for: {', '.join(sorted(others))}.")
        )
    return Group(*parts)


def _where(one: Explained) -> str:
    named = [f"{region} ×{count}" if count > 1 else region for region, count in one.places.items()]
    return ", ".join(named[:MOST_NAMED]) + (
        f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    )


def _why(one: Explained) -> str:
    needed = [f"needs --allow-interface {one.allowed_by}"] if one.allowed_by and one.count else []
    return "; ".join(
        [*needed, *(f"{reason} ({len(one.refused[reason])})" for reason in one.reasons if one.refused)]
    )


def _places(found: Sequence[Explained]) -> RenderableType:
    """Every place of the rewrites that were asked for."""
    from edgeopt.cli.tables import table

    rows = [
        *((one.name, region, "applies" if n == 1 else f"applies {n} times")
          for one in found for region, n in one.places.items()),
        *((one.name, node, reason)
          for one in found for reason, nodes in one.refused.items() for node in nodes),
        *((one.name, "", one.reasons[0]) for one in found if not one.count and not one.refused),
    ]  # fmt: skip
    return table(("rewrite", "region or node", "what"), rows)


def _summary(family: str, name: str) -> str:
    """The first sentence of the plug-in's documentation."""
    from edgeopt.core import plugins

    text = (plugins.load(family, name).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def _show(rows: list[dict[str, str]]) -> RenderableType:
    from edgeopt.cli.tables import table

    return table(("name", "family", "what it does"), [(r["name"], r["family"], r["summary"]) for r in rows])
