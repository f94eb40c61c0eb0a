"""`edgeopt boards doctor`: what stands in the way of measuring on a board, and what mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer
from edgeopt.cli.probing import BoardArgument, meant

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt boards doctor kitchen-pi", "edgeopt boards doctor ssh://pi@10.0.0.7 --device rpi4 --json"
)

STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    board: BoardArgument,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            autocompletion=names.complete_device,
            help="What it is meant to be. Left out: as in boards.toml.",
        ),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Walk the whole way to a measurement on a board; exit code 4 if it cannot measure."""
    from edgeopt.boards import profiles
    from edgeopt.boards.examination import examine
    from edgeopt.cli.live import view

    if device is not None:
        names.known("device", device, names.devices())
    with view(as_json=as_json) as observer, meant(board, observer) as chosen:
        address, device = chosen.address, device or chosen.device
        profile = profiles.load(device) if device else None
        rows = [asdict(check) for check in examine(board, address, profile)]
    can = not any(row["verdict"] == "fail" for row in rows)
    document = {
        "board": board,
        "address": str(address),
        "device": device,
        "can_measure": can,
        "checks": rows,
    }
    return Answer(document, lambda: _show(board, rows, can), exit_code=0 if can else 4)


def _show(board: str, rows: list[dict[str, Any]], can: bool) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    body = [(row["name"], Text(row["verdict"], style=STYLES[row["verdict"]]), row["found"]) for row in rows]
    amiss = [row for row in rows if row["verdict"] != "ok"]
    notes: list[RenderableType] = []
    for row in amiss:
        notes.append(Text(f"{row['verdict']}: {row['name']}: {row['why']}", style=STYLES[row["verdict"]]))
        notes += [Text(f"  {row['fix']}")] if row["fix"] else []
    warnings = sum(row["verdict"] == "warn" for row in rows)
    said = "can measure" if can else "cannot measure"
    verdict = Text(f"{board} {said}" + (f", with {warnings} warnings" if can and warnings else ""))
    verdict.stylize("green" if can else "red")
    return Group(table(("check", "", "found"), body, title=board), *notes, verdict)
