"""`edgeopt study`: look into what a study has found, also while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.core.trial import Trial
    from edgeopt.study.read import StoredStudy

app = typer.Typer(
    help="Studies on disk: trials, the best, the Pareto front.",
    epilog=flags.examples(
        "edgeopt study show edgeopt-out/model-rpi4",
        "edgeopt study export edgeopt-out/model-rpi4 -o trials.csv",
    ),
)


@app.command(epilog=flags.examples("edgeopt study show edgeopt-out/model-rpi4 --json"))
def show(folder: flags.Folder, as_json: flags.Json = False) -> Answer:
    """Show all trials, and how far what the search expected of them was off."""
    from dataclasses import asdict

    from edgeopt.report.predictions import with_prediction_errors
    from edgeopt.study.prediction import errors

    trials = trials_of(folder)
    rows, wrong = _documents(trials), [asdict(error) for error in errors(trials)]
    document = {"folder": str(folder.absolute()), "trials": rows, "prediction_errors": wrong}
    return Answer(document, lambda: with_prediction_errors(_table(rows), wrong))


@app.command(epilog=flags.examples("edgeopt study best edgeopt-out/model-rpi4"))
def best(folder: flags.Folder, as_json: flags.Json = False) -> Answer:
    """Show the result again, as optimize printed it."""
    from edgeopt.report.context import read_evidence
    from edgeopt.report.summary import summary

    evidence = read_evidence(folder)
    objective = evidence.context.objective.name
    return Answer(
        evidence.document,
        lambda: summary(evidence.document, report=folder.absolute() / "report.html", objective=objective),
    )


@app.command(epilog=flags.examples("edgeopt study pareto edgeopt-out/model-rpi4"))
def pareto(folder: flags.Folder, as_json: flags.Json = False) -> Answer:
    """Show the trials that no other beats in latency, accuracy drop, size, memory and energy at once."""
    from edgeopt.study.front import pareto as front

    trials = trials_of(folder)
    rows = _documents(trials, only=front(trials))
    return Answer({"folder": str(folder.absolute()), "pareto": rows}, lambda: _table(rows))


@app.command(epilog=flags.examples("edgeopt study export edgeopt-out/model-rpi4 -o trials.csv"))
def export(
    folder: flags.Folder,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Left out: stdout.")
    ] = None,
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="Of the file.")] = "csv",
    as_json: flags.Json = False,
) -> Answer:
    """Write all trials, with every decision, as CSV or JSON."""
    from edgeopt.report.export import as_csv
    from edgeopt.study.read import rows as flat

    rows = flat(_study(folder))
    document: dict[str, Any] = {"folder": str(folder.absolute()), "trials": rows}
    if form == "json" or (output is not None and output.suffix == ".json"):
        text = Answer(document, text=str).to_json() + "\n"
    else:
        text = as_csv(rows)
    if output is None:
        return Answer(document, lambda: text.rstrip("\n"))
    output.write_text(text, encoding="utf-8")
    written = {"file": str(output.absolute()), "trials": len(rows)}
    return Answer(written, lambda: f"wrote {len(rows)} trials to {output}")


@app.command(
    epilog=flags.examples(
        "edgeopt study explain edgeopt-out/model-rpi4",
        "edgeopt study explain edgeopt-out/model-rpi4 --measure",
        'edgeopt study explain --budget "10 trials" --by pattern --json',
    )
)
def explain(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="The folder that edgeopt optimize wrote. Left out: the only one in "
            "edgeopt-out.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure every decision that was not measured yet.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="TIME|TRIALS",
            help='Measure for so long (10m), or so many decisions ("10 trials"): what matters most first.',
        ),
    ] = None,
    by: Annotated[
        Literal["decision", "pattern"] | None,
        typer.Option(
            "--by",
            help="Turn back one decision at a time, or the same decision of all repeated regions. "
            "[dim]\\[default: decision, up to 24 of them][/dim]",
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option("--board", metavar="BOARD", help="Where the study's board answers, if elsewhere now."),
    ] = None,
    wait: flags.Wait = None,
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Show what each decision of the result brings: time, size, energy and accuracy.

    Each is turned back to the original's answer, everything else as it is. With [cyan]--measure[/cyan] or
    [cyan]--budget[/cyan] that is built and measured in turns with the result, on the study's board; repeating
    the command goes on. Else it is predicted from the study's trials.
    """
    from edgeopt.cli import checked
    from edgeopt.cli.live import view
    from edgeopt.optimize.explain import explain as run
    from edgeopt.options import Budget, ExplainOptions
    from edgeopt.report import shares

    asked = Budget.parse(budget) if budget else Budget(seconds=math.inf) if measure else None
    options = ExplainOptions(folder or _only_study(), asked, by, board, checked.wait_s(wait))
    with view(as_json=as_json) as observer:
        explained = run(options, observer)
    return Answer(explained.document, lambda: shares.view(explained.document), explained.exit_code)


def _only_study() -> Path:
    """The one study of this working folder.

    Raises:
        ConfigError: There is none, or there are several.
    """
    from edgeopt.study.store import LOG

    found = sorted(path.parent for path in Path("edgeopt-out").glob(f"*/{LOG}"))
    if len(found) != 1:
        known = f"{len(found)} studies" if found else "no study"
        raise ConfigError(f"there is {known} in edgeopt-out", hint="name the -o folder of edgeopt optimize")
    return found[0]


def trials_of(folder: Path) -> Sequence[Trial]:
    """The trials of a study's folder, in order; reading does not disturb a study that runs.

    Raises:
        ConfigError: There is no such folder.
        StudyError: It holds no study.
    """
    return _study(folder).trials


def _study(folder: Path) -> StoredStudy:
    from edgeopt.study.read import read

    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder}", hint="name the -o folder of edgeopt optimize")
    return read(folder)


def _documents(trials: Sequence[Trial], *, only: Sequence[Trial] | None = None) -> list[dict[str, Any]]:
    from edgeopt.report.document import trial_document

    default = next((t.candidate for t in trials if t.kind == "baseline"), None)
    return [trial_document(trial, default) for trial in (trials if only is None else only)]


def _table(rows: list[dict[str, Any]]) -> RenderableType:
    from edgeopt.report.trials import TrialsTable

    return TrialsTable(rows, next((row for row in rows if row["kind"] == "baseline"), None))
