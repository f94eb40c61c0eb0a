"""`edgeopt deploy`: a release to devices, over SSH."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, fleet
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.field.parcel import Parcel
    from edgeopt.field.rollout import Report
    from edgeopt.field.waves import Wave

ROLLOUT = "Rollout"

EPILOG = flags.examples(
    "edgeopt deploy model.edgepkg --board kitchen-pi --trust trust",
    "edgeopt deploy model.edgepkg --group kitchens --canary 2 --waves 10%,50%,100%",
    "edgeopt deploy model.edgepkg --group kitchens --dry-run",
)

Package = Annotated[
    Path,
    typer.Argument(metavar="PKG", help="The package, as edgeopt package wrote it.", show_default=False),
]


def deploy(
    package: Package,
    board: fleet.Boards = None,
    group: fleet.Groups = None,
    canary: Annotated[
        int | None,
        typer.Option(
            "--canary",
            metavar="N",
            min=0,
            rich_help_panel=ROLLOUT,
            help="How many devices come first, the first that are named; none of them may fail. "
            "[dim]\\[default: 1, where there are more][/dim]",
        ),
    ] = None,
    waves: Annotated[
        str,
        typer.Option(
            "--waves",
            metavar="LIST",
            rich_help_panel=ROLLOUT,
            help="How much of the fleet has been reached at the end of each wave after it, in per cent or in "
            "devices.",
        ),
    ] = "10%,50%,100%",
    max_failures: Annotated[
        str,
        typer.Option(
            "--max-failures",
            metavar="SHARE",
            rich_help_panel=ROLLOUT,
            help="More of a wave may not fail, of the devices that answer; one always may, unless it is 0.",
        ),
    ] = "10%",
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            rich_help_panel=ROLLOUT,
            help="Try devices that failed before again; a rollout that was stopped goes on only so.",
        ),
    ] = False,
    health_wait: Annotated[
        str,
        typer.Option(
            "--health-wait",
            metavar="TIME",
            rich_help_panel=ROLLOUT,
            help="How long a device may have the release on trial.",
        ),
    ] = "15m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the waves, and reach nobody.", rich_help_panel=ROLLOUT)
    ] = False,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust",
            metavar="DIR",
            rich_help_panel=fleet.DEVICES,
            help="Verify the package with this trust first, and give it to devices that have none yet. One "
            "that has another refuses.",
        ),
    ] = None,
    root: fleet.Root = None,
    sudo: fleet.Sudo = False,
    concurrency: fleet.AtOnce = 10,
    wait: fleet.Wait = "1m",
    as_json: flags.Json = False,
) -> Answer:
    """Bring a package to devices, a few first: verified, tested and switched to by each device itself.

    A device that fails keeps what it serves. Repeating the command goes on where it was; a device that is
    not reached is tried again, and is not held against the release.
    """
    from edgeopt.boards.inventory import Inventory
    from edgeopt.core.errors import ConfigError
    from edgeopt.field import fleet as fleets
    from edgeopt.field.deliver import Delivery, Patience
    from edgeopt.field.journal import Journal, file_of
    from edgeopt.field.many import Stop
    from edgeopt.field.parcel import Parcel
    from edgeopt.field.rollout import Report, roll_out
    from edgeopt.field.waves import USUAL_CANARIES, parse_rate, plan
    from edgeopt.options import parse_duration_s

    if not package.is_file():
        raise ConfigError(
            f"there is no package {package}", hint="edgeopt package DIR -o model.edgepkg --key K"
        )
    patience = Patience(parse_duration_s(wait, "--wait"), parse_duration_s(health_wait, "--health-wait"))
    rate = parse_rate(max_failures)
    given = _trusted(package, trust) if trust else None
    parcel = Parcel.open(package)
    with fleet.view(as_json=as_json) as observer:
        start = None if dry_run else observer
        targets = {
            one.name: one
            for one in fleets.targets(
                board or [], group or [], Inventory.load(), root=root, sudo=sudo, start=start
            )
        }
        planned = plan(list(targets), USUAL_CANARIES if canary is None else canary, waves)
        if dry_run:
            return Answer(_planned(parcel, planned), lambda: _show_plan(parcel, planned))
        stop = Stop()
        with Journal(file_of(parcel, list(targets)), _facts(parcel, planned)) as journal:
            if retry:
                journal.forget([one.name for one in journal.outcomes.values() if one.state == "failed"])
            if journal.is_resumed:
                observer.announce(f"going on with {journal.file}")
            try:
                report = roll_out(
                    planned,
                    lambda name: Delivery(targets[name], parcel, given, patience, observer, stop).run(),
                    journal, rate, concurrency, observer, stop,
                )  # fmt: skip
            except KeyboardInterrupt:
                report = Report("interrupted", "interrupted", planned, dict(journal.outcomes))
    document = _document(parcel, report, journal.file)
    return Answer(document, lambda: _shown(document), report.exit_code)


def _trusted(package: Path, trust: Path) -> bytes:
    """The root that devices are given, once the package has been found good by it."""
    from edgeopt.field import verify

    return verify.trusted_root(package, trust)


def _facts(parcel: Parcel, waves: Sequence[Wave]) -> dict[str, Any]:
    return {
        "package": str(parcel.file.resolve()),
        "sha256": parcel.sha256,
        "product": parcel.product,
        "counter": parcel.counter,
        "waves": [list(wave.names) for wave in waves],
    }


def _planned(parcel: Parcel, waves: Sequence[Wave]) -> dict[str, Any]:
    return {**_facts(parcel, waves), "dry_run": True, "waves": _waves(waves)}


def _waves(waves: Sequence[Wave]) -> list[dict[str, Any]]:
    return [{"wave": one.number, "canary": one.is_canary, "devices": list(one.names)} for one in waves]


def _document(parcel: Parcel, report: Report, journal: Path) -> dict[str, Any]:
    failed = [one for one in report.outcomes.values() if one.state == "failed"]
    short = failed or [one for one in report.outcomes.values() if not one.has_answered]
    error = None
    if report.exit_code and short:
        first = short[0]
        message = report.reason or f"{first.name}: {first.reason}"
        error = {"kind": first.kind, "message": message, "hint": first.hint}
    return {
        **_facts(parcel, report.waves),
        "dry_run": False,
        "waves": _waves(report.waves),
        "verdict": report.verdict,
        "reason": report.reason,
        "devices": report.devices(),
        "journal": str(journal),
        "error": error,
    }


def _show_plan(parcel: Parcel, waves: Sequence[Wave]) -> RenderableType:
    from edgeopt.cli.tables import table

    rows = [
        (str(one.number), str(len(one.names)), ", ".join(one.names), "none may fail" if one.is_canary else "")
        for one in waves
    ]
    headings = ("wave", "size", "devices", "")
    return table(headings, rows, title=f"{parcel.name}: nobody was reached", right=("size",))


def _shown(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    rows = [
        (one["name"], str(one["wave"]), fleet.SAID[one["state"]], one.get("counter"), one["reason"] or "")
        for one in document["devices"]
    ]
    lines = [Text(line) for line in _conclusion(document)]
    return Group(table(("device", "wave", "state", "serves", "why"), rows, right=("serves",)), *lines)


def _conclusion(document: dict[str, Any]) -> list[str]:
    devices = document["devices"]
    has_it = sum(one["state"] in ("updated", "current") for one in devices)
    release = f"{document['product']} {document['counter']}"
    lines = [f"{release}: {has_it} of {len(devices)} devices have it"]
    if document["verdict"] == "stopped":
        lines.append(f"stopped: {document['reason']}")
    if hint := (document["error"] or {}).get("hint"):
        lines.append(f"hint: {hint}")
    if any(one["state"] == "failed" for one in devices):
        lines.append("--retry tries those that failed again, and lets a stopped rollout go on")
    elif document["verdict"] != "complete":
        lines.append("repeating the command goes on with those that do not have it")
    if document["verdict"] == "stopped" and has_it:
        lines.append(
            f"those that have it keep it: edgeopt rollback --from {document['counter']} takes it back"
        )
    return lines
