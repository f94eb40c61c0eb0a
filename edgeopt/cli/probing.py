"""`edgeopt boards probe`: who a board is, how it is doing, and what its user may do there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.boards.address import Address
    from edgeopt.core.progress import Observer

EPILOG = flags.examples(
    "edgeopt boards probe local",
    "edgeopt boards probe ssh://pi@10.0.0.7",
    "edgeopt boards probe kitchen --raw",
)

BoardArgument = Annotated[
    str,
    typer.Argument(
        metavar="BOARD",
        help="Which board: local, virtual:rpi4, virtual (the one that is up), a name, or an address.",
        autocompletion=names.complete_board,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Meant:
    """A board that is to be entered, and what it is said to be."""

    address: Address
    device: str | None


@contextmanager
def meant(board: str, observer: Observer) -> Iterator[Meant]:
    """The board, whatever way it is named; a virtual one is up meanwhile.

    Raises:
        ConfigError: There is no such board.
    """
    from edgeopt.boards.address import Address
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.resolve import VIRTUAL, virtual_device

    if board == VIRTUAL or virtual_device(board):
        from edgeopt.boards.virtual import machine

        with machine.named(virtual_device(board), observer) as running:
            yield Meant(Address.parse(running.url), running.device)
    elif board == "local" or "://" in board:
        yield Meant(Address.parse(board), "local" if board == "local" else None)
    else:
        named = Inventory.load().get(board)
        yield Meant(named.address, named.device)


def probe(
    board: BoardArgument,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="What it printed, as JSON without serial numbers: a recording for tests."),
    ] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Ask a board what it is, how it does, and which features need a privilege. It needs no runtime there.

    A virtual board that is not up is started, and ends with the answer.
    """
    from edgeopt.boards.capabilities import features
    from edgeopt.boards.facts import probed
    from edgeopt.boards.identity import accepting
    from edgeopt.boards.probes import printed, read
    from edgeopt.boards.readings import without_serial_numbers
    from edgeopt.cli.live import view
    from edgeopt.core import plugins

    with view(as_json=as_json) as observer, meant(board, observer) as chosen:
        address = chosen.address
        with closing(plugins.load("transports", address.scheme).connect(address)) as transport:
            outputs = printed(transport)
    if raw:
        recording = {name: without_serial_numbers(output) for name, output in outputs.items()}
        document: dict[str, Any] = {"how": "recorded", "outputs": recording}
        return Answer(document, lambda: json.dumps(document, indent=1))
    found = read(outputs)
    rows = [asdict(feature) for feature in features(found)]
    devices = accepting(probed(found))
    document = {
        "board": board,
        "address": str(address),
        "devices": devices,
        "facts": found,
        "features": rows,
    }
    return Answer(document, lambda: _show(board, devices, found, rows))


def _show(
    board: str, devices: list[str], found: dict[str, Any], rows: list[dict[str, Any]]
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.boards.probes import STATES, WHO
    from edgeopt.cli.tables import table

    facts = [
        (f"{name}.{part}".rstrip("."), _value(f"{name}.{part}", value))
        for name in (*WHO, *STATES)
        for part, value in (found[name].items() if isinstance(found[name], dict) else [("", found[name])])
    ]
    offers = [
        (row["name"], "yes" if row["available"] else "no", row["found"], *_missing(row)) for row in rows
    ]
    return Group(
        table(("fact", "value"), facts, title=board),
        table(("feature", "available", "found", "needs", "lost without it"), offers),
        Text(f"can be used as: {', '.join(devices)}"),
    )


def _missing(row: dict[str, Any]) -> tuple[str, str]:
    """What it needs and what is lost, where it is not there."""
    return ("", "") if row["available"] else (row["needs"], row["lost"])


def _value(name: str, value: Any) -> Any:
    """For people: sizes in MiB, shares in %, of the cores' parts each kind once."""
    if isinstance(value, list | tuple):
        return ", ".join(dict.fromkeys(map(str, value))) or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if "_bytes" in name and value is not None:
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:.0%}" if "_share" in name and value is not None else value
