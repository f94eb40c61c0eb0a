"""`edgeopt boards who|lock|unlock|clean`: boards that several people and machines share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from edgeopt.boards.dialogue import Dialogue

Board = Annotated[
    str,
    typer.Argument(
        metavar="NAME|local|URL",
        help="Which board.",
        autocompletion=names.complete_board,
        show_default=False,
    ),
]

EPILOGS = {
    "who": flags.examples("edgeopt boards who kitchen-pi"),
    "lock": flags.examples(
        "edgeopt boards lock kitchen-pi", "edgeopt boards lock kitchen-pi --for 2h --why 'new heat sink'"
    ),
    "unlock": flags.examples("edgeopt boards unlock kitchen-pi", "edgeopt boards unlock kitchen-pi --force"),
    "clean": flags.examples("edgeopt boards clean kitchen-pi"),
}


def who(board: Board, as_json: flags.Json = False) -> Answer:
    """Say who is measuring on a board, and who has reserved it."""
    from edgeopt.boards import lease

    with _talking(board) as dialogue:
        found = dialogue.ask("who", lease.DEADLINE_S)

    def show() -> str:
        lines = [f"{board} is in use by {lease.described(found['holder'])}"] if found["holder"] else []
        lines += [f"{board} is reserved by {lease.described(found['reserved'])}"] if found["reserved"] else []
        return "\n".join(lines) or f"{board} is free"

    return Answer({"board": board, **found}, show)


def lock(
    board: Board,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h. A reboot ends it sooner.")
    ] = "1h",
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What others are told.")] = "",
    as_json: flags.Json = False,
) -> Answer:
    """Reserve a board: until unlock, only your own commands measure on it."""
    from edgeopt.boards import lease
    from edgeopt.options import parse_duration_s

    seconds = parse_duration_s(for_, "--for")
    with _talking(board) as dialogue:
        owner = lease.owner()
        answer = dialogue.ask("lock", lease.DEADLINE_S, owner=owner, why=why, for_s=seconds)
    _require_free(board, answer, "wait until it is free, or ask its user")
    return Answer(
        {"board": board, "reserved": answer["reserved"]},
        lambda: (
            f"{board} is reserved by {lease.described(answer['reserved'])}\n"
            f"give it back: edgeopt boards unlock {board}"
        ),
    )


def unlock(
    board: Board,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also another's: whoever measures there loses the board."),
    ] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Give a reserved board back."""
    from edgeopt.boards import lease

    with _talking(board) as dialogue:
        answer = dialogue.ask("unlock", lease.DEADLINE_S, owner=lease.owner(), force=force)
    _require_free(board, answer, f"edgeopt boards unlock {board} --force takes it away")
    freed = answer["freed"]

    def show() -> str:
        lines = [f"taken from {lease.described(one)}" for one in freed if one["command"]]
        return "\n".join(lines) or (f"{board} is free" if freed else f"{board} was not reserved")

    return Answer({"board": board, "freed": freed}, show)


def clean(board: Board, as_json: flags.Json = False) -> Answer:
    """Empty what edgeopt keeps on a board: models, inputs, its runner. Nothing else of it is there."""
    from edgeopt.boards.connected import REQUEST_DEADLINE_S
    from edgeopt.boards.lease import Claim
    from edgeopt.core.errors import BusyError

    with _talking(board) as dialogue:
        Claim(hint="repeat it when the board is free: edgeopt boards who").take(dialogue, board)
        found = dialogue.ask("empty", REQUEST_DEADLINE_S)
    if found["counting"]:  # of a virtual board, which is shared without a lease
        raise BusyError(f"{board} is in use: another client counts on it", hint="repeat it in a minute")
    document: dict[str, Any] = {"board": board, "objects": found["removed"], "bytes": found["bytes"]}
    return Answer(
        document,
        lambda: f"{board}: {document['objects']} files removed, {document['bytes'] / 1e6:.1f} MB",
    )


@contextmanager
def _talking(board: str) -> Iterator[Dialogue]:
    """A conversation with a board's runner. No runtime is imported: who measures there hardly notices."""
    from contextlib import closing

    from edgeopt.boards.address import Address
    from edgeopt.boards.dialogue import Dialogue
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.virtual import machine
    from edgeopt.core import plugins

    virtual = next((one.url for one in machine.running() if one.name == board), None)
    bare = virtual or (board if board == "local" or "://" in board else None)
    address = Address.parse(bare) if bare else Inventory.load().get(board).address
    with closing(plugins.load("transports", address.scheme).connect(address)) as transport:
        dialogue = Dialogue(transport.start_runner(), board)
        try:
            yield dialogue
        finally:
            dialogue.close()


def _require_free(board: str, answer: dict[str, Any], hint: str) -> None:
    from edgeopt.boards import lease
    from edgeopt.core.errors import BusyError

    if held := answer.get("held"):
        raise BusyError(f"{board} is in use by {lease.described(held)}", hint=hint)
