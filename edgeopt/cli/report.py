"""`edgeopt report`: the page, written again from what a study left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer

EPILOG = flags.examples(
    "edgeopt report edgeopt-out/model-rpi4", "edgeopt report edgeopt-out/model-rpi4 -o report.html"
)


def report(
    folder: flags.Folder,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[dim]\\[default: DIR/report.html][/dim]"),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Write the report of a finished study: one self-contained HTML page."""
    from edgeopt.cli.study import trials_of
    from edgeopt.report.context import read_evidence
    from edgeopt.report.html import write_report

    evidence = read_evidence(folder)
    path = (output or folder / "report.html").absolute()
    write_report(path, evidence.document, trials_of(folder), evidence.context)
    return Answer({"report": str(path)}, lambda: f"wrote {path}")
