"""`edgeopt confirm`: an emulated or predicted result, measured on hardware."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import checked, flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt confirm edgeopt-out/model-rpi4 --board kitchen",
    "edgeopt confirm edgeopt-out/model-rpi4 --board ssh://pi@10.0.0.7 --json",
)


def confirm(
    folder: flags.Folder,
    board: Annotated[
        str,
        typer.Option(
            "--board",
            metavar="BOARD",
            help="The unit to measure on: a name of boards.toml, local, or ssh://user@host:port.",
            autocompletion=names.complete_board,
            rich_help_panel=flags.BOARD,
        ),
    ],
    effort: flags.Effort = None,
    wait: flags.Wait = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start anew instead of resuming.", rich_help_panel=flags.OUTPUT),
    ] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Measure the references and the five best candidates of an emulated or predicted study on hardware.

    Ends with a measured result in [cyan]DIR/confirm-BOARD[/cyan], and says how well the figures agree.
    Repeating the command resumes.
    """
    from edgeopt.cli.live import view
    from edgeopt.optimize.confirm import confirm as run
    from edgeopt.options import ConfirmOptions

    _check_hardware(board)
    options = ConfirmOptions(
        folder=folder,
        board=board,
        effort=effort,
        wait_s=checked.wait_s(wait),
        fresh=fresh,
        command=shlex.join(["edgeopt", *sys.argv[1:]]),
    )
    with view(as_json=as_json) as observer:
        result = run(options, observer)
    return Answer(result.document, lambda: _show(result.document), result.exit_code)


def _check_hardware(board: str) -> None:
    """Refuse boards whose figures are no measurements, before the study is read."""
    from edgeopt.boards.resolve import VIRTUAL, device_of
    from edgeopt.core.errors import ConfigError

    if board in (VIRTUAL, "predicted") or device_of(board):
        raise ConfigError(
            f"confirm measures on hardware, and --board {board} is none",
            hint="--board NAME of boards.toml, or ssh://user@host; to search on a virtual board: edgeopt "
            "optimize MODEL --board virtual",
        )


def _show(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.report import agreement
    from edgeopt.report.context import read_evidence
    from edgeopt.report.summary import summary

    folder = Path(document["artifact"]).parent
    objective = read_evidence(folder).context.objective.name
    parts: list[RenderableType] = [summary(document, report=folder / "report.html", objective=objective)]
    if found := document.get("confirmed"):
        parts += [agreement.table(found), Text(agreement.sentence(found), style="bold")]
    return Group(*parts)
