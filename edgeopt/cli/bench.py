"""`edgeopt bench`: how good the tool itself is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items())
