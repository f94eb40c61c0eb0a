"""`edgeopt boards`: the units that one has."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    help="Boards to measure on.",
    epilog=flags.examples(
        "edgeopt boards enroll ssh://pi@10.0.0.7",
        "edgeopt boards add kitchen-pi ssh://pi@10.0.0.7 --device rpi4",
        "edgeopt boards probe kitchen-pi",
    ),
)

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", help="ssh://user@host:port?python=/path&identity=/path", show_default=False
    ),
]


@app.command("list", epilog=flags.examples("edgeopt boards list --json"))
def list_(as_json: flags.Json = False) -> Answer:
    """List the boards of boards.toml, of the working folder and of $EDGEOPT_HOME."""
    from edgeopt.boards.inventory import Inventory

    rows = [
        {"name": b.name, "device": b.device, "url": b.url, "file": str(b.source) if b.source else None}
        for b in Inventory.load().boards.values()
    ]
    return Answer({"boards": rows}, lambda: _list(rows))


@app.command(epilog=flags.examples("edgeopt boards add kitchen-pi ssh://pi@10.0.0.7 --device rpi4"))
def add(
    name: Annotated[str, typer.Argument(help="What you will call it.", show_default=False)],
    url: Url,
    device: Annotated[
        str,
        typer.Option("--device", metavar="NAME", autocompletion=names.complete_device, help="What it is."),
    ],
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="PATH", help="The Python on the board that has the runtime."),
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="FILE", help="The private key to use.")
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Give a board a name, so that [cyan]--device[/cyan] alone finds it."""
    from edgeopt.boards.inventory import NamedBoard
    from edgeopt.boards.inventory import add as write

    names.known("device", device, names.devices())
    file = write(NamedBoard(name, device, url, python, identity))
    document = {"name": name, "device": device, "url": url, "file": str(file)}
    return Answer(document, lambda: f"{name} is in {file}\nnext: edgeopt boards probe {name}")


@app.command(epilog=flags.examples("edgeopt boards enroll ssh://pi@10.0.0.7 --fingerprint SHA256:…"))
def enroll(
    url: Url,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            "--fingerprint",
            metavar="SHA256:…",
            help="As read on the board. Left out: shows what is offered, exit 4.",
        ),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Trust a board's host key, by the fingerprint that you read on the board itself."""
    from edgeopt.boards import places
    from edgeopt.boards.hostkeys import enroll as trust

    key = trust(url, fingerprint)
    file = str(places.known_hosts()[0])
    document = {"url": url, "kind": key.kind, "fingerprint": key.fingerprint, "file": file}
    return Answer(document, lambda: f"trusted: {key.kind} {key.fingerprint}, in {file}")


@app.command(epilog=flags.examples("edgeopt boards probe local", "edgeopt boards probe ssh://pi@10.0.0.7"))
def probe(
    board: Annotated[
        str,
        typer.Argument(
            metavar="NAME|local|URL",
            help="Which board.",
            autocompletion=names.complete_board,
            show_default=False,
        ),
    ],
    as_json: flags.Json = False,
) -> Answer:
    """Ask a board what it is: core, memory, system, temperature. It needs no runtime there."""
    from edgeopt.boards.address import Address
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.probes import probe as ask
    from edgeopt.core import plugins

    bare = board == "local" or "://" in board
    address = Address.parse(board) if bare else Inventory.load().get(board).address
    with closing(plugins.load("transports", address.scheme).connect(address)) as transport:
        found = ask(transport)
    document: dict[str, Any] = {"board": board, "address": str(address), "facts": found}
    return Answer(document, lambda: _facts(board, found))


def _list(rows: list[dict[str, Any]]) -> RenderableType:
    from edgeopt.cli.tables import table

    if not rows:
        return "no board is configured; edgeopt boards add NAME ssh://user@host --device DEVICE adds one"
    return table(("board", "device", "url", "file"), [tuple(row.values()) for row in rows])


def _facts(board: str, found: dict[str, Any]) -> RenderableType:
    from edgeopt.cli.tables import table

    rows = [
        (f"{name}.{part}", _value(value))
        for name, fact in found.items()
        for part, value in (fact.items() if isinstance(fact, dict) else [("", fact)])
    ]
    return table(("fact", "value"), [(name.rstrip("."), value) for name, value in rows], title=board)


def _value(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
