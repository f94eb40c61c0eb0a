"""`edgeopt status`: what devices serve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from edgeopt.cli import flags, fleet
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt status --board kitchen-pi", "edgeopt status --group kitchens --wait 5s --json"
)


def status(
    board: fleet.Boards = None,
    group: fleet.Groups = None,
    root: fleet.Root = None,
    sudo: fleet.Sudo = False,
    concurrency: fleet.AtOnce = 10,
    wait: fleet.Wait = "0s",
    as_json: flags.Json = False,
) -> Answer:
    """Ask devices which release they serve, and how it is; of silent ones, when they were last heard of.

    Exit code 4 where none answers, or the only one does not.
    """
    from edgeopt.boards.inventory import Inventory
    from edgeopt.field.asking import statuses
    from edgeopt.field.fleet import targets
    from edgeopt.field.many import Stop
    from edgeopt.options import parse_duration_s

    meant = targets(board or [], group or [], Inventory.load(), root=root, sudo=sudo)
    with fleet.view(as_json=as_json) as observer:
        found = statuses(meant, parse_duration_s(wait, "--wait"), concurrency, observer, Stop())
    error, code = None, 0
    if not any(one.status for one in found):
        failed = next(one.error for one in found if one.error)
        error = {"kind": failed.kind, "message": failed.message, "hint": failed.hint}
        code = failed.exit_code
    document = {"devices": [one.document() for one in found], "error": error}
    return Answer(document, lambda: _shown(document), code)


def _shown(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    rows = [
        (one["name"], _state(one), one.get("product"), one.get("counter"), one.get("variant"), _remark(one))
        for one in document["devices"]
    ]
    headings = ("device", "state", "product", "serves", "variant", "")
    shown: list[RenderableType] = [table(headings, rows, right=("serves",))]
    if hint := (document["error"] or {}).get("hint"):
        shown.append(Text(f"hint: {hint}"))
    return Group(*shown)


def _state(one: dict[str, Any]) -> str:
    if not one["reached"]:
        return "silent"
    return "failed" if one["reason"] else str(one.get("state"))


def _remark(one: dict[str, Any]) -> str:
    if one["reason"]:
        heard = one["last_seen"]
        when = f"last seen {_when(heard['time'])}" if heard else "never seen from here"
        return one["reason"] if one["reached"] else f"{when}; {one['reason']}"
    last = one.get("last") or {}
    if last.get("outcome") not in (None, "good"):
        return f"{last.get('action')} {last.get('counter')}: {last.get('outcome')}: {last.get('reason')}"
    return f"since {_when(one['since'])}" if one.get("since") else ""


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
