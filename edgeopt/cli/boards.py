"""`edgeopt boards`: the units that one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import calibrate as calibration
from edgeopt.cli import examining, flags, lease, names, probing
from edgeopt.cli import meter as metering
from edgeopt.cli import provision as provisioning
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.boards.virtual.running import Running

app = typer.Typer(
    help="Boards to measure on.",
    epilog=flags.examples(
        "edgeopt boards enroll ssh://pi@10.0.0.7",
        "edgeopt boards add kitchen-pi ssh://pi@10.0.0.7 --device rpi4",
        "edgeopt boards doctor kitchen-pi",
        "edgeopt boards up rpi4",
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
    """List the boards of boards.toml (working folder, $EDGEOPT_HOME), and the virtual ones that are up."""
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.virtual import machine

    rows = [
        {"name": b.name, "device": b.device, "url": b.url, "file": str(b.source) if b.source else None}
        for b in Inventory.load().boards.values()
    ]
    rows += [{"name": b.name, "device": b.device, "url": b.url, "file": None} for b in machine.running()]
    made_of = {b.name: _packages(b) for b in machine.running()}
    document = [{**row, "packages": made_of.get(str(row["name"]))} for row in rows]
    return Answer({"boards": document}, lambda: _list(rows))


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
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="A name for deploy --group. Repeat for others."),
    ] = None,
    project: Annotated[
        bool,
        typer.Option("--project/--user", help="Into boards.toml of the working folder, or your own."),
    ] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Give a board a name, so that [cyan]--device[/cyan] alone finds it."""
    from edgeopt.boards.inventory import NamedBoard, project_file
    from edgeopt.boards.inventory import add as write

    names.known("device", device, names.devices())
    board = NamedBoard(name, device, url, python, identity, groups=tuple(group or ()))
    file = write(board, project_file() if project else None)
    document = {"name": name, "device": device, "url": url, "groups": group or [], "file": str(file)}
    return Answer(document, lambda: f"{name} is in {file}\nnext: edgeopt boards doctor {name}")


@app.command(epilog=flags.examples("edgeopt boards remove kitchen-pi"))
def remove(
    name: Annotated[
        str,
        typer.Argument(help="As it stands in boards.toml.", autocompletion=names.complete_board),
    ],
    as_json: flags.Json = False,
) -> Answer:
    """Forget a board's name; the board itself, and its host key, are left alone."""
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.inventory import remove as erase

    file = erase(Inventory.load().get(name))
    return Answer({"name": name, "file": str(file)}, lambda: f"{name} is no longer in {file}")


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


app.command(epilog=probing.EPILOG)(probing.probe)
app.command(epilog=examining.EPILOG)(examining.doctor)


@app.command(
    epilog=flags.examples(
        "edgeopt boards up rpi4", "edgeopt boards up rpi5 --ram 2G", "edgeopt boards up rpi4 --port 2222"
    )
)
def up(
    device: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="What it shall be: rpi4, or virtual:rpi4.",
            autocompletion=names.complete_device,
            show_default=False,
        ),
    ],
    ram: Annotated[
        str | None,
        typer.Option(
            "--ram", metavar="SIZE", help="Its memory. Left out: its smallest variant's, at most 1 GiB."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", help="Port of 127.0.0.1 for SSH. Left out: a free one."),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Start a virtual board: the real arm64 runtime under emulation, on this machine. It stays until down."""
    from edgeopt.boards import profiles
    from edgeopt.boards.resolve import VIRTUAL, emulated_devices, virtual_device
    from edgeopt.boards.virtual import machine
    from edgeopt.cli.live import view
    from edgeopt.core.errors import ConfigError

    if device.removesuffix(":") == VIRTUAL:
        raise ConfigError(
            "which device shall it be?", hint=f"edgeopt boards up {'|'.join(emulated_devices())}"
        )
    device = virtual_device(device) or names.known("device", device, names.devices())
    profile = profiles.load(device)
    with view(as_json=as_json) as observer:
        board = machine.up(
            profile,
            ram_bytes=_memory_bytes(ram) if ram else None,
            keep=True,
            port=port,
            observer=observer,
        )
    document = {**_virtual(board), "model": profile.title}
    return Answer(document, lambda: _up(document))


app.command(epilog=calibration.EPILOG)(calibration.calibrate)
app.command(epilog=metering.EPILOG)(metering.meter)
app.command(epilog=provisioning.EPILOG)(provisioning.provision)


for command in (lease.who, lease.lock, lease.unlock, lease.clean):
    app.command(epilog=lease.EPILOGS[command.__name__])(command)


@app.command(epilog=flags.examples("edgeopt boards down rpi4", "edgeopt boards down --all"))
def down(
    board: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Which: virtual:rpi4, or rpi4 for short.", show_default=False),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that are up.")] = False,
    as_json: flags.Json = False,
) -> Answer:
    """End a virtual board; nothing of it is left."""
    from edgeopt.boards.virtual import machine
    from edgeopt.core.errors import ConfigError

    there = machine.running()
    if (board is None) is not all_:
        raise ConfigError("name one virtual board, or say --all", hint="edgeopt boards list")
    only = board == "virtual" and len(there) == 1
    chosen = [b for b in there if all_ or only or b.name in (board, f"virtual:{board}")]
    if board and not chosen:
        up_now = ", ".join(b.name for b in there) or "none"
        raise ConfigError(f"no virtual board {board.removeprefix('virtual:')} is up", hint=f"up: {up_now}")
    for one in chosen:
        machine.down(one)
    ended = [one.name for one in chosen]
    return Answer({"down": ended}, lambda: f"down: {', '.join(ended)}" if ended else "no virtual board is up")


def _memory_bytes(size: str) -> int:
    """Memory comes in powers of two: of all sizes, here `1G` is 1 GiB."""
    from edgeopt.options import parse_size_bytes

    return int(parse_size_bytes(size + "iB" if size[-1:] in "kmgKMG" else size, "--ram"))


def _virtual(board: Running) -> dict[str, Any]:
    return {
        "name": board.name,
        "device": board.device,
        "url": board.url,
        "ssh": board.ssh,
        "port": board.port,
        "pid": board.pid,
        "ram_bytes": board.ram_bytes,
        "packages": _packages(board),
    }


def _packages(board: Running) -> dict[str, str] | None:
    """Which versions Debian had when its image was made: two machines with one digest emulate alike."""
    from edgeopt.core.digest import file_digest

    if not board.packages.is_file():  # it is up since before edgeopt kept that
        return None
    return {"sha256": file_digest(board.packages), "file": str(board.packages)}


def _up(document: dict[str, Any]) -> str:
    return (
        f"{document['name']} is up: {document['model']}, {document['ram_bytes'] >> 20} MiB\n"
        f"enter it: {document['ssh']}\n"
        f"use it:   edgeopt optimize MODEL --device {document['device']} --board virtual\n"
        f"end it:   edgeopt boards down {document['device']}"
    )


def _list(rows: list[dict[str, Any]]) -> RenderableType:
    from edgeopt.cli.tables import table

    if not rows:
        return "no board is configured; edgeopt boards add NAME ssh://user@host --device DEVICE adds one"
    return table(("board", "device", "url", "file"), [tuple(row.values()) for row in rows])
