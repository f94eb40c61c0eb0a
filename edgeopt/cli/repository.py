"""`edgeopt repository`: updates that devices fetch themselves, from any web server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, signing
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from edgeopt.field.keys import Signer
    from edgeopt.field.reports import Feedback
    from edgeopt.field.repository import Standing

app = typer.Typer(
    help="A static repository of updates, for devices that fetch them (edgeopt_field.py pull).",
    epilog=flags.examples(
        "edgeopt repository publish www/model model.edgepkg --key keys/edgeopt.key --share 5%",
        "edgeopt repository serve www/model --reports reports --port 8080",
        "edgeopt repository advance www/model --key keys/edgeopt.key --share 50% --reports reports",
        "edgeopt repository refresh www/model --key keys/edgeopt.key",
    ),
)

Folder = Annotated[Path, typer.Argument(metavar="REPO", help="The repository's folder.", show_default=False)]
Keys = Annotated[
    list[str],
    typer.Option("--key", metavar="FILE|pkcs11:…", help="A key of the roles timestamp and snapshot. Repeat."),
]
Share = Annotated[
    str,
    typer.Option("--share", metavar="SHARE", help="Which part of the devices may take it, as 5% or 0.05."),
]
Reports = Annotated[
    Path | None, typer.Option("--reports", metavar="DIR", help="Where reports of devices are kept.")
]
Lifetime = Annotated[
    str,
    typer.Option(
        "--expires", metavar="TIME",
        help="How long devices believe that nothing newer exists; refresh it before.",
    ),
]  # fmt: skip

NO_FEEDBACK = (
    "without reports nobody learns how it goes on the devices: reports come where they are given --report URL"
)


@app.command(
    epilog=flags.examples("edgeopt repository publish www/model model.edgepkg --key keys/edgeopt.key")
)
def publish(
    folder: Folder,
    package: Annotated[Path, typer.Argument(metavar="PKG", help="The package.", show_default=False)],
    key: Keys,
    trust: Annotated[
        Path | None, typer.Option("--trust", metavar="DIR", help="Verify the package with this trust first.")
    ] = None,
    share: Share = "100%",
    expires: Lifetime = "14d",
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:
    """Offer a package to devices that fetch updates, to a part of them first with [cyan]--share[/cyan]."""
    from edgeopt.core.errors import ConfigError
    from edgeopt.field import repository, verify
    from edgeopt.field.parcel import Parcel
    from edgeopt.field.waves import parse_rate

    if not package.is_file():
        raise ConfigError(
            f"there is no package {package}", hint="edgeopt package DIR -o model.edgepkg --key K"
        )
    if trust:
        verify.trusted_root(package, trust)
    standing = repository.publish(
        folder, Parcel.open(package), _signers(key, passphrase_file),
        share=parse_rate(share, "--share"), timestamp_days=_days(expires),
    )  # fmt: skip
    return _answer(folder, standing)


@app.command(
    epilog=flags.examples(
        "edgeopt repository advance www/model --key keys/edgeopt.key --share 50% --reports reports",
        "edgeopt repository advance www/model --key keys/edgeopt.key --share 100% --no-feedback",
    )
)
def advance(
    folder: Folder,
    key: Keys,
    share: Share = "100%",
    reports: Reports = None,
    max_failures: Annotated[
        str, typer.Option("--max-failures", metavar="SHARE", help="More of those that report may not fail.")
    ] = "10%",
    at_least: Annotated[
        int, typer.Option("--at-least", metavar="N", min=1, help="So many devices must have reported.")
    ] = 1,
    no_feedback: Annotated[
        bool, typer.Option("--no-feedback", help="Go on without knowing how it went so far.")
    ] = False,
    expires: Lifetime = "14d",
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:
    """Let more of the devices take what is offered, if those that took it report well of it.

    Exit code 7 where too many report that it failed, or too few report.
    """
    from edgeopt.core.errors import ConfigError
    from edgeopt.field import repository
    from edgeopt.field.waves import parse_rate

    if (reports is None) is not no_feedback:
        raise ConfigError("say --reports DIR, or --no-feedback", hint=NO_FEEDBACK)
    wanted, rate = parse_rate(share, "--share"), parse_rate(max_failures)
    heard = _heard(reports, repository.standing(folder)) if reports else None
    if heard and (why := _refusal(heard, rate, at_least)):
        standing = repository.standing(folder)
        document = {**_document(folder, standing, heard), "advanced": False, "reason": why}
        return Answer(document, lambda: f"not advanced: {why}", exit_code=7)
    standing = repository.advance(
        folder, _signers(key, passphrase_file), wanted, timestamp_days=_days(expires)
    )
    return _answer(folder, standing, heard, advanced=True, reason=None if heard else NO_FEEDBACK)


@app.command(epilog=flags.examples("edgeopt repository refresh www/model --key keys/edgeopt.key"))
def refresh(
    folder: Folder,
    key: Keys,
    expires: Lifetime = "14d",
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:
    """Sign anew that nothing newer exists: without, devices distrust the repository once that expires."""
    from edgeopt.field import repository

    standing = repository.advance(folder, _signers(key, passphrase_file), None, timestamp_days=_days(expires))
    return _answer(folder, standing)


@app.command(epilog=flags.examples("edgeopt repository show www/model --reports reports --json"))
def show(folder: Folder, reports: Reports = None, as_json: flags.Json = False) -> Answer:
    """Say what is offered to which part of the devices, and what they report of it."""
    from edgeopt.field import repository

    standing = repository.standing(folder)
    return _answer(folder, standing, _heard(reports, standing) if reports else None)


@app.command(epilog=flags.examples("edgeopt repository serve www/model --reports reports --port 8080"))
def serve(
    folder: Folder,
    reports: Reports = None,
    known_only: Annotated[
        bool,
        typer.Option("--known-only", help="Take reports only of devices whose keys are among the reports."),
    ] = False,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: a free one.")] = 8080,
    as_json: flags.Json = False,
) -> None:
    """Serve a repository, and take reports, until interrupted. Any web server does the former as well."""
    from edgeopt.cli.live import view
    from edgeopt.field import repository, serving
    from edgeopt.field.reports import Inbox

    standing = repository.standing(folder)
    with view(as_json=True) as observer:
        inbox = Inbox(reports, known_only) if reports else None
        with serving.server(folder, inbox, observer, host, port) as server:
            where = f"http://{host}:{server.server_address[1]}"
            offered = f"{standing.product} {standing.counter}" if standing else "nothing yet"
            observer.announce(f"serving {offered} at {where}")
            observer.announce(f"reports go to {where}{serving.REPORTS}" if reports else NO_FEEDBACK)
            server.serve_forever()


def _signers(references: list[str], passphrase_file: Path | None) -> list[Signer]:
    return signing.signers(references, signing.passphrase(passphrase_file))


def _days(text: str) -> float:
    from edgeopt.options import parse_duration_s

    if text.strip().endswith("d") and text.strip()[:-1].replace(".", "", 1).isdigit():
        return float(text.strip()[:-1])
    return parse_duration_s(text, "--expires") / 86400


def _heard(reports: Path, standing: Standing | None) -> Feedback | None:
    from edgeopt.field.reports import Inbox, feedback

    if standing is None:
        return None
    return feedback(Inbox(reports).devices(), standing.product, standing.counter)


def _refusal(heard: Feedback, rate: float, at_least: int) -> str | None:
    if heard.count < at_least:
        return f"{heard.count} devices have reported of this release, {at_least} must"
    if len(heard.failed) > rate * heard.count:
        name, why = next(iter(heard.failed.items()))
        return f"{len(heard.failed)} of {heard.count} devices report that it failed: {name[:12]}: {why}"
    return None


def _document(folder: Path, standing: Standing | None, heard: Feedback | None) -> dict[str, Any]:
    told = {"good": heard.good, "failed": dict(heard.failed)} if heard else None
    offered = standing.document() if standing else None
    return {"repository": str(folder.absolute()), "offered": offered, "reported": told}


def _answer(folder: Path, standing: Standing | None, heard: Feedback | None = None, **more: object) -> Answer:
    document = {**_document(folder, standing, heard), **more}
    return Answer(document, lambda: "\n".join(_lines(document)))


def _lines(document: dict[str, Any]) -> list[str]:
    offered, told = document["offered"], document["reported"]
    if offered is None:
        return [f"{document['repository']} offers nothing yet"]
    lines = [
        f"{offered['product']} {offered['counter']} is offered to {offered['share']:.1%} of the devices, "
        f"until {offered['expires'][:10]} (edgeopt repository refresh)"
    ]
    if told is not None:
        lines.append(f"{told['good']} devices report that they are well with it, {len(told['failed'])} not")
        lines += [f"  {name[:12]}: {why}" for name, why in list(told["failed"].items())[:6]]
    if document.get("reason"):
        lines.append(f"no feedback: {document['reason']}")
    return lines
