"""`edgeopt bench`: how good the tool itself is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    help="Benchmarks of edgeopt itself: which sampler finds good candidates soonest.",
    epilog=flags.examples(
        "edgeopt bench search",
        "edgeopt bench record model.onnx --board virtual:rpi4 --data d.npz --candidates 300 "
        "-o oracles/model-rpi4.jsonl.gz",
    ),
)


@app.command(
    epilog=flags.examples(
        "edgeopt bench record model.onnx --board virtual:rpi4 --data d.npz -o model-rpi4.jsonl.gz",
        "edgeopt bench record model.onnx --device local --data d.npz --candidates 500 -o model.jsonl.gz",
    )
)
def record(
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Of the oracle, as NAME.jsonl.gz; NAME.study beside it "
            "is what the same command resumes from.",
            rich_help_panel=flags.OUTPUT,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="An ONNX model. Left out: that of edgeopt.toml."),
    ] = None,
    candidates: Annotated[
        int, typer.Option("--candidates", metavar="N", min=1, help="Beside the references.")
    ] = 300,
    device: flags.Device = None,
    board: flags.Board = None,
    data: flags.Data = None,
    metric: flags.Metric = None,
    shape: flags.Shape = None,
    fixed: flags.Fixed = None,
    effort: flags.Effort = None,
    threads: flags.Threads = None,
    structure: Annotated[
        bool, typer.Option("--structure", help="Also record changes of the model's structure.")
    ] = False,
    require: flags.Require = None,
    wait: flags.Wait = None,
    seed: flags.Seed = None,
    as_json: flags.Json = False,
) -> Answer:
    """Record an oracle: a table of candidates of a model on a board, evaluated as in a study.

    The candidates cover what samplers ask for: references, mixes, changes of the best, and each sampler's own
    proposals. Repeating the command resumes.
    """  # fmt: skip
    import shlex
    import sys

    from edgeopt.bench.oracle import SUFFIX
    from edgeopt.bench.record import record as run
    from edgeopt.cli.live import view
    from edgeopt.cli.settings import optimize_options, settings

    path = output.absolute()
    folder = path.with_name(path.name.removesuffix(SUFFIX) + ".study")
    said = settings(
        {
            ("model", "path"): model, ("model", "shape"): shape, ("model", "fixed"): fixed,
            ("data", "path"): data, ("data", "metric"): metric,
            ("search", "effort"): effort, ("search", "threads"): threads, ("search", "seed"): seed,
            ("search", "structure"): structure,
            ("search", "output"): str(folder), ("search", "sampler"): "random",
            ("board", "device"): device, ("board", "board"): board, ("board", "require"): require,
            ("board", "wait"): wait,
        }
    )  # fmt: skip
    options = optimize_options(said, fresh=False, command=shlex.join(["edgeopt", *sys.argv[1:]]))
    with view(as_json=as_json) as observer:
        oracle = run(options, candidates, path, observer)
    counts = oracle.counts()
    document = {"file": str(path), "about": dict(oracle.about), "counts": counts}
    return Answer(document, lambda: f"wrote {path}: {_counted(counts)}")


@app.command(
    epilog=flags.examples(
        "edgeopt bench search",
        "edgeopt bench search --samplers random,tpe,ppo --seeds 5 --budget 20",
        "edgeopt bench search model-rpi4.jsonl.gz -o bench-out --jobs 2",
        "edgeopt bench search --answers pool --json",
    )
)
def search(
    oracles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[ORACLE...]", help="Left out: those that come with edgeopt."),
    ] = None,
    samplers: Annotated[
        str | None,
        typer.Option("--samplers", metavar="NAMES", help="With commas between. Left out: all that search."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Searches of each.")] = 20,
    budget: Annotated[
        int, typer.Option("--budget", metavar="N", min=1, help="Measurements of each search.")
    ] = 40,
    answers: Annotated[
        Literal["pool", "fitted", "both"],
        typer.Option(
            "--answers",
            help="pool: the nearest recorded candidate answers; fitted: a regression on all of them does.",
        ),
    ] = "both",
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Processes at once.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            rich_help_panel=flags.OUTPUT,
            help="Folder for index.html and for the runs, from which the same command goes on.",
        ),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Replay searches against recorded oracles: which sampler finds good candidates soonest.

    No board is needed. With -o, what the same code has run before is not run again.
    """
    from edgeopt.bench.answers import WAYS
    from edgeopt.bench.search import SearchBench, default_samplers, shipped
    from edgeopt.bench.search import search as run
    from edgeopt.cli import names
    from edgeopt.cli.live import view

    asked = default_samplers() if samplers is None else tuple(s.strip() for s in samplers.split(","))
    for name in asked:
        names.known("sampler", name, names.samplers())
    folder = None if output is None else output.absolute()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    files = tuple(path.absolute() for path in oracles) if oracles else shipped()
    bench = SearchBench(
        files, WAYS if answers == "both" else (answers,), asked, seeds, budget, jobs,
        None if folder is None else folder / "runs.jsonl",
    )  # fmt: skip
    with view(as_json=as_json) as observer:
        document = run(bench, observer)
    if folder is not None:
        from edgeopt.bench.page import write_page

        document["page"] = str(folder / "index.html")
        write_page(folder / "index.html", document)
    return Answer(document, lambda: _tables(document))


LEGEND = (
    "median over seeds [95 % interval], > if never; % best: of the best known speed; to 95 %: measurements "
    "until 95 % of it; gain: over the best reference; changed: decisions between asked and answered or "
    "recorded; ρ: rank correlation of the fitted answers, held out"
)


def _tables(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.bench.table import HEADINGS, SHORT, SUM_HEADINGS, rows, sum_rows
    from edgeopt.cli.tables import table

    parts: list[RenderableType] = [_oracles(document)]
    for way, of_way in document["ways"].items():
        for name, samplers in of_way["by_oracle"].items():
            body = [[row[column] for column in SHORT] for row in rows(samplers)]
            headings = [HEADINGS[column] for column in SHORT]
            parts.append(table(headings, body, title=f"{way}: {name}", right=headings[1:]))
        summed = of_way["in_sum"]
        title = f"{way}: all oracles, after {summed['at']} measurements"
        parts.append(table(SUM_HEADINGS, sum_rows(summed), title=title, right=SUM_HEADINGS[1:]))
    parts += [
        Text(f"{row['sampler']} left out on {row['oracle']}: {row['reason']}", "dim")
        for row in document["refused"]
    ]
    parts.append(Text(LEGEND, "dim"))
    if "page" in document:
        parts.append(Text(f"wrote {document['page']}"))
    return Group(*parts)


def _oracles(document: Mapping[str, Any]) -> RenderableType:
    from edgeopt.cli.tables import table
    from edgeopt.report.figures import ms

    headings = ("oracle", "tried", "decisions", "original", "reference", "best", "ρ figure", "ρ drop")
    body = [
        (
            o["name"], o["counts"]["candidates"], o["decisions"],
            ms(o["original"]), ms(o["best_reference"]), ms(o["best_recorded"]),
            _held_out(o["fitted"]["log_figure"]), _held_out(o["fitted"]["drop"]),
        )
        for o in document["oracles"]
    ]  # fmt: skip
    return table(headings, body, right=headings[1:])


def _held_out(said: Mapping[str, Any] | None) -> str | None:
    return None if said is None or said["spearman"] is None else f"{said['spearman']:.3f}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items())
