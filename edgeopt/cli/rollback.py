"""`edgeopt rollback`: back to what served before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, fleet
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt rollback --board kitchen-pi",
    "edgeopt rollback --group kitchens --from 12",
    "edgeopt rollback --group kitchens --from 12 --to 10",
)


def rollback(
    board: fleet.Boards = None,
    group: fleet.Groups = None,
    from_: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="COUNTER",
            help="The release that is left; devices that serve another stay as they are. "
            "[dim]\\[default: what they all serve][/dim]",
        ),
    ] = None,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            metavar="COUNTER",
            help="The release to serve again, of those a device has kept. "
            "[dim]\\[default: the one before][/dim]",
        ),
    ] = None,
    root: fleet.Root = None,
    sudo: fleet.Sudo = False,
    concurrency: fleet.AtOnce = 10,
    wait: fleet.Wait = "1m",
    as_json: flags.Json = False,
) -> Answer:
    """Have devices serve again what they served before, from what they have kept: nothing is sent.

    All at once, without waves. Repeating it takes nobody back twice.
    """
    from edgeopt.boards.inventory import Inventory
    from edgeopt.field.asking import leaving, roll_back, statuses
    from edgeopt.field.fleet import targets
    from edgeopt.field.many import Stop
    from edgeopt.options import parse_duration_s

    wait_s, stop = parse_duration_s(wait, "--wait"), Stop()
    meant = targets(board or [], group or [], Inventory.load(), root=root, sudo=sudo)
    with fleet.view(as_json=as_json) as observer:
        found = [] if from_ is not None else statuses(meant, wait_s, concurrency, observer, stop)
        leave = leaving(found, from_)
        outcomes = roll_back(meant, leave, to, wait_s, concurrency, observer, stop)
    failed = [one for one in outcomes if one.state in ("failed", "unreached")]
    first = min(failed, key=lambda one: one.state, default=None)  # one that failed before one not reached
    error = None
    if first:
        error = {"kind": first.kind, "message": f"{first.name}: {first.reason}", "hint": first.hint}
    document = {
        "left": leave,
        "devices": [{**one.document(), "last_seen": _last_seen(one.name)} for one in outcomes],
        "error": error,
    }
    return Answer(document, lambda: _shown(document), (first.exit_code or 4) if first else 0)


def _last_seen(name: str) -> dict[str, Any] | None:
    from edgeopt.field import seen

    heard = seen.last(name)
    return heard.document() if heard else None


def _shown(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    devices = document["devices"]
    rows = [(one["name"], fleet.SAID[one["state"]], one["counter"], one["reason"] or "") for one in devices]
    back = sum(one["state"] == "rolled-back" for one in devices)
    line = f"{back} of {len(devices)} devices left {document['left']}"
    if any(one["state"] in ("failed", "unreached") for one in devices):
        line += "; repeating the command with --from " + str(document["left"]) + " tries the others again"
    return Group(table(("device", "state", "serves", "why"), rows, right=("serves",)), Text(line))
