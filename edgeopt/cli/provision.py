"""`edgeopt boards provision`: prepare a fresh board, so that it can be measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.boards.provisioning.provision import Action, Outcome
    from edgeopt.boards.provisioning.steps import Step

EPILOG = flags.examples(
    "edgeopt boards provision kitchen-pi --dry-run",
    "edgeopt boards provision ssh://pi@10.0.0.7 --ask-sudo",
    "edgeopt boards provision kitchen-pi --only governor,swap --ask-sudo",
    "edgeopt boards provision kitchen-pi --meter ina219@1:0x40 --shunt-ohm 0.1 --ask-sudo --reboot",
    "edgeopt boards provision kitchen-pi --undo --ask-sudo",
)


def provision(
    board: Annotated[
        str,
        typer.Argument(
            metavar="NAME|URL", help="Which board.", autocompletion=names.complete_board, show_default=False
        ),
    ],
    only: Annotated[str | None, typer.Option("--only", metavar="STEP,…", help="Just these steps.")] = None,
    skip: Annotated[str | None, typer.Option("--skip", metavar="STEP,…", help="Not these steps.")] = None,
    with_: Annotated[
        str | None,
        typer.Option("--with", metavar="STEP,…", help="Also these, which must be asked for."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            metavar="NAME",
            help="An account of its own to run models as; it is made. Left out: the one that logs in.",
        ),
    ] = None,
    litert: Annotated[bool, typer.Option("--litert", help="LiteRT in the environment, too.")] = False,
    from_index: Annotated[
        bool,
        typer.Option(
            "--from-index", help="The board's own pip downloads. Left out: this machine does, and sends it."
        ),
    ] = False,
    meter: Annotated[
        str | None,
        typer.Option(
            "--meter",
            metavar="CHIP@BUS:ADDRESS",
            help="A power meter on the board's I²C bus, as in ina219@1:0x40.",
        ),
    ] = None,
    shunt_ohm: Annotated[
        float | None,
        typer.Option("--shunt-ohm", metavar="OHM", help="The meter's shunt: R100 is 0.1. No default."),
    ] = None,
    ask_sudo: Annotated[
        bool,
        typer.Option("--ask-sudo", help="Ask for the password of sudo, once; it is stored nowhere."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    print_script: Annotated[
        bool, typer.Option("--print-script", help="Print exactly what would run on the board, and end.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Restore what was there before, from the record on the board.")
    ] = False,
    reboot: Annotated[
        bool, typer.Option("--reboot", help="Reboot the board, if something needs it, and wait for it.")
    ] = False,
    save: Annotated[
        bool, typer.Option("--save", help="Write the prepared Python into the board's entry in boards.toml.")
    ] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Prepare a Raspberry Pi OS or Debian board over SSH, or restore it. A second run changes nothing.

    Steps that need root are left out without root or [cyan]--ask-sudo[/cyan]; measuring works without them.
    """
    from edgeopt.boards.address import Address
    from edgeopt.boards.inventory import Inventory
    from edgeopt.boards.provisioning import provision as work
    from edgeopt.boards.provisioning.saving import write
    from edgeopt.boards.provisioning.script import Meter, Settings, compose
    from edgeopt.boards.provisioning.steps import all_steps, choose
    from edgeopt.cli.live import view
    from edgeopt.core.errors import CommandError, ConfigError

    if dry_run and undo:
        raise ConfigError("--dry-run shows what would be done, --undo restores: say one of them")
    if save and ("://" in board or undo or dry_run or print_script):
        raise ConfigError(
            "--save writes into the entry of a board that is prepared", hint="edgeopt boards add"
        )
    address = Address.parse(board) if "://" in board else Inventory.load().get(board).address
    if address.scheme != "ssh":
        raise ConfigError("a board is provisioned over SSH: ssh://user@host")
    there = all_steps()
    # What is undone is what the board has a record of, whether it is asked for now or not.
    extra = [s.name for s in there] if undo else [*_listed(with_), *(["i2c"] if meter else [])]
    steps = choose(there, _listed(only), _listed(skip), extra)
    named_meter = Meter.parse(meter, shunt_ohm) if meter else None
    login = work.login_user(address)
    settings = Settings.of(login, user or login, litert=litert, from_index=from_index, meter=named_meter)
    action: Action = "undo" if undo else "check" if dry_run else "do"
    if print_script:
        return _printed(steps, compose(steps, settings), action)
    password = _asked_once() if ask_sudo else None
    with view(as_json=as_json) as observer:
        outcome = work.provision(address, steps, settings, action, password, observer)
        if reboot and outcome.reboots and action != "check":
            outcome = work.rebooted(address, steps, settings, action, outcome, password, observer)
        for result in outcome.failed:
            observer.announce(f"{result.step.name} failed: {result.reason}")
    document = _document(board, action, outcome)
    if save and outcome.python:
        document["file"] = str(write(Inventory.load().get(board), outcome.address, outcome.python))
    if outcome.failed:
        raise CommandError(
            f"{len(outcome.failed)} of {len(outcome.results)} steps failed: "
            + "; ".join(f"{result.step.name}: {result.reason}" for result in outcome.failed),
            hint="the others are done; repeating the command goes on from here",
        )
    return Answer(document, lambda: _shown(document))


def _listed(names_: str | None) -> list[str]:
    return [name.strip() for name in (names_ or "").split(",") if name.strip()]


def _asked_once() -> Callable[[], str]:
    """Asks for the password when it is wanted, and never again."""
    import getpass
    from functools import cache

    from edgeopt.core.errors import ConfigError

    @cache
    def ask() -> str:
        try:
            # The terminal itself: stdin and stdout may be pipes, and neither may show it.
            with open("/dev/tty", "r+b", buffering=0) as terminal:  # noqa: PTH123 - a device
                if not terminal.isatty():
                    raise OSError
        except OSError as error:
            raise ConfigError("--ask-sudo needs a terminal to ask at") from error
        return getpass.getpass("password of sudo on the board: ")

    return ask


def _printed(steps: Sequence[Step], script: str, action: str) -> Answer:
    from edgeopt.boards.provisioning.script import command

    commands = [
        {"step": step.name, "needs": step.scope, "command": command(action, step.name)} for step in steps
    ]
    return Answer({"script": script, "commands": commands}, lambda: script.rstrip("\n"))


def _document(board: str, action: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "board": board,
        "address": str(outcome.address),
        "action": action,
        "changed": any(result.state in ("changed", "restored") for result in outcome.results),
        "steps": [result.document() for result in outcome.results],
        "reboot_needed": list(outcome.reboots),
        "python": outcome.python,
        "url": outcome.url,
        "file": None,
    }


STATES = {
    "unchanged": "as it should be",
    "would-change": "would change",
    "changed": "changed",
    "restored": "restored",
    "not-applicable": "not here",
    "needs-root": "needs root",
    "failed": "failed",
}


def _shown(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    rows = []
    for step in document["steps"]:
        said = [*step["changes"], *([step["reason"]] if step["reason"] else []), *step["notes"]]
        rows.append((step["name"], STATES[step["state"]], "\n".join(said)))
    return Group(table(("step", "state", "what"), rows), *map(Text, _conclusion(document)))


def _conclusion(document: dict[str, Any]) -> list[str]:
    board, states = document["board"], [step["state"] for step in document["steps"]]
    lines = [f"a reboot is needed: {why}" for why in document["reboot_needed"]]
    if lines and document["action"] != "check":
        lines.append("repeat the command with --reboot, or reboot it yourself")
    if not document["changed"] and document["action"] != "check":
        lines.append("nothing was changed")
    if "needs-root" in states:
        lines.append("--ask-sudo does the rest; measuring works without it")
    if document["file"]:
        lines.append(f"written: {document['file']}")
    elif document["python"] and document["action"] == "do":
        if "://" in board:
            lines.append(f"use it: edgeopt boards add NAME '{document['url']}' --device DEVICE")
        else:
            lines.append(f'in boards.toml (--save writes it): python = "{document["python"]}"')
    return lines
