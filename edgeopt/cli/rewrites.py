"""`edgeopt rewrites`: what the search can do to a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    help="Rewrites and precision schemes that the search chooses from.",
    epilog=flags.examples("edgeopt rewrites list"),
)


@app.callback()
def group() -> None:
    """Keep `list` a sub-command, also while it is the only one."""


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


def _summary(family: str, name: str) -> str:
    """The first sentence of the plug-in's documentation."""
    from edgeopt.core import plugins

    text = (plugins.load(family, name).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def _show(rows: list[dict[str, str]]) -> RenderableType:
    from edgeopt.cli.tables import table

    return table(("name", "family", "what it does"), [(r["name"], r["family"], r["summary"]) for r in rows])
