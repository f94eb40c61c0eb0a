"""`edgeopt devices`: what is known of each kind of board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError

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
    board: Annotated[
        str | None,
        typer.Option("--board", metavar="BOARD", help="With what calibrating this unit found."),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Show every fact of a device, with its source and how far to trust it."""
    from edgeopt.boards import profiles

    profile = profiles.load(name, board)
    return Answer(_document(profile), lambda: _facts(profile))


@app.command(epilog=flags.examples("edgeopt devices check my-board.toml"))
def check(
    file: Annotated[Path, typer.Argument(help="A profile that you wrote.", show_default=False)],
    as_json: flags.Json = False,
) -> Answer:
    """Check a profile: known keys, units, plausible values, sources, and that what is needed is there."""
    from edgeopt.boards import profiles, schema

    if not file.is_file():
        wrong = "is a folder, a profile is a .toml file" if file.is_dir() else "does not exist"
        raise ConfigError(f"{file} {wrong}", hint="edgeopt devices check my-board.toml")
    if problems := schema.problems(file):
        count = "one thing is" if len(problems) == 1 else f"{len(problems)} things are"
        raise ConfigError(
            f"{file}: {count} wrong\n" + "\n".join(problems), hint=f"{schema.GUIDE} lists sections and facts"
        )
    profile = profiles.check(file)
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
        "little_core": profile.get("little", "core"),
        "little_cores": profile.get("little", "cores"),
        "little_clock_ghz": profile.get("little", "clock_ghz"),
        "predictable": "model" in profile.facts,
        "emulatable": "emulation" in profile.facts,
    }


def _list(rows: list[dict[str, Any]]) -> RenderableType:
    from edgeopt.cli.tables import table

    body = [
        (
            row["name"],
            row["title"],
            _cores(row),
            " + ".join(f"{ghz} GHz" for ghz in (row["clock_ghz"], row["little_clock_ghz"]) if ghz) or None,
            _without_a_board(row),
        )
        for row in rows
    ]
    return table(("device", "title", "cores", "clock", "without a board"), body)


def _without_a_board(row: dict[str, Any]) -> str | None:
    ways = (("virtual", row["emulatable"]), ("predicted", row["predictable"]))
    return ", ".join(way for way, can in ways if can) or None


def _cores(row: dict[str, Any]) -> str:
    kinds = ((row["cores"], row["core"]), (row["little_cores"], row["little_core"]))
    return " + ".join(f"{count}× {core}" for count, core in kinds if core) or "this machine"


def _document(profile: DeviceProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "facts": {
            section: {
                name: {
                    "value": f.value,
                    "unit": f.unit,
                    "source": f.source,
                    "confidence": f.confidence,
                    "measured": f.is_measured,
                }
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
