"""`edgeopt boards meter`: does a board's meter make sense?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples("edgeopt boards meter kitchen-pi", "edgeopt boards meter kitchen-pi --json")


def meter(
    board: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A board of boards.toml.", autocompletion=names.complete_board,
            show_default=False,
        ),
    ],
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Read a board's meter while it is idle and while all its cores are busy: 14 seconds.

    Exit 4 where it cannot be read, does not follow the board, or is more than twice off its profile. A board
    without a meter has the model of its profile, if there is one, looked at instead.
    """
    from edgeopt.boards import profiles
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.metering import check
    from edgeopt.boards.metering.link import Link
    from edgeopt.core.errors import ConfigError

    inventory = Inventory.load()
    named = inventory.get(board)
    profile = profiles.load(named.device)
    link = Link.of(named.meter, profile, inventory.address_of)
    if link is None:
        raise ConfigError(
            f"{board} has no meter, and the profile {named.device} has no model of its power",
            hint=f"add [board.{board}.meter] to {named.source}: docs/boards/meters.md",
        )
    seen = check.look(board, named.address, link, profile)
    check.judge(board, seen, link)
    document: dict[str, Any] = {
        "board": board,
        "device": named.device,
        "kind": link.settings.kind,
        "host": str(link.host) if link.host else None,
        **asdict(seen),
    }
    return Answer(document, lambda: _shown(document))


def _shown(document: Mapping[str, Any]) -> RenderableType:
    from edgeopt.cli.tables import table

    rows = [
        ("idle", _watts(document["idle_w"]), _watts(document["profile_idle_w"])),
        ("all cores busy", _watts(document["stress_w"]), _watts(document["profile_stress_w"])),
    ]
    share, bar = document["reader_cpu"], f"±{document['error_share']:.0%}"
    cost = "" if share is None else f", which takes {share:.1%} of a core"
    source = f"source {document['source']}, {bar}, {document['rate_hz']:.0f} samples a second{cost}"
    if document["source"] == "model":
        source = f"no meter, but the profile's model of how busy it is, {bar}"
    return table(
        ("", document["kind"], f"profile {document['device']}"),
        rows,
        title=f"{document['board']}: {source}",
        right=(document["kind"], f"profile {document['device']}"),
    )


def _watts(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g} W"
