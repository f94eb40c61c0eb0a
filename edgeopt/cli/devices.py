"""`edgeopt devices`: what is known of each kind of board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.core.profile import DeviceProfile

app = typer.Typer(
    help="Kinds of boards, described by profiles.",
    epilog=flags.examples(
        "edgeopt devices list", "edgeopt devices show rpi4", "edgeopt devices check my.toml"
    ),
)


@app.command("list", epilog=flags.examples("edgeopt devices list --json"))
def list_(as_json: flags.Json = False) -> Answer:
    """List the devices that [cyan]--device[/cyan] knows."""
    from edgeopt.boards import profiles

    rows = [_row(profiles.load(name)) for name in profiles.names()]
    return Answer({"devices": rows}, lambda: _list(rows))


@app.command(epilog=flags.examples("edgeopt devices show rpi5"))
def show(
    name: Annotated[
        str, typer.Argument(help="A device, or the path of a profile.", autocompletion=names.complete_device)
    ],
    as_json: flags.Json = False,
) -> Answer:
    """Show every fact of a device, with its source and how far to trust it."""
    from edgeopt.boards import profiles

    profile = profiles.load(name)
    return Answer(_document(profile), lambda: _facts(profile))


@app.command(epilog=flags.examples("edgeopt devices check my-board.toml"))
def check(
    file: Annotated[Path, typer.Argument(help="A profile that you wrote.", show_default=False)],
    as_json: flags.Json = False,
) -> Answer:
    """Check a profile: every fact has value, unit, source and confidence, and what is needed is there."""
    from edgeopt.boards import profiles
    from edgeopt.cli.settings import existing

    profile = profiles.check(existing(file))
    facts = sum(len(section) for section in profile.facts.values())
    return Answer(
        {"name": profile.name, "valid": True, "facts": facts}, lambda: f"{file}: {facts} facts, all in order"
    )


def _row(profile: DeviceProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "core": profile.get("cpu", "core"),
        "cores": profile.get("cpu", "cores"),
        "clock_ghz": profile.get("cpu", "clock_ghz"),
        "predictable": "cpu" in profile.facts,
    }


def _list(rows: list[dict[str, Any]]) -> RenderableType:
    from edgeopt.cli.tables import table

    body = [
        (
            row["name"],
            row["title"],
            f"{row['cores']}× {row['core']}" if row["core"] else "this machine",
            f"{row['clock_ghz']} GHz" if row["clock_ghz"] else None,
        )
        for row in rows
    ]
    return table(("device", "title", "cores", "clock"), body)


def _document(profile: DeviceProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "facts": {
            section: {
                name: {"value": f.value, "unit": f.unit, "source": f.source, "confidence": f.confidence}
                for name, f in facts.items()
            }
            for section, facts in profile.facts.items()
        },
    }


def _facts(profile: DeviceProfile) -> RenderableType:
    from edgeopt.cli.tables import table

    body = [
        (f"{section}.{name}", _value(fact.value), fact.unit, fact.confidence, fact.source)
        for section, facts in profile.facts.items()
        for name, fact in facts.items()
    ]
    return table(("fact", "value", "unit", "confidence", "source"), body, title=profile.title)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
