"""`edgeopt optimize`: the search."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Literal

import typer

from edgeopt.cli import flags, names
from edgeopt.cli.answer import Answer

EPILOG = flags.examples(
    "edgeopt optimize --device local",
    "edgeopt optimize model.onnx --device rpi4 --board ssh://pi@10.0.0.7 --data images/",
    'edgeopt optimize model.onnx --device local --data d.npz --budget "40 trials" --max-drop 0.5%',
    'edgeopt optimize model.onnx --board virtual:rpi4 --data images/ --budget "20 trials"',
    "edgeopt optimize model.onnx --device rpi5 --budget 0 --require emulated --json",
    "edgeopt optimize model.onnx --device rpi4 --data images/ --allow-interface uint8-input",
)

ObjectiveChoice = Literal["latency", "p95", "cold-start", "energy", "memory", "size", "utilization"]


def optimize(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="An ONNX model. Left out: that of edgeopt.toml, else the example."
        ),
    ] = None,
    device: flags.Device = None,
    board: flags.Board = None,
    data: flags.Data = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration", metavar="DATA", help="Inputs to calibrate on.", rich_help_panel=flags.DATA
        ),
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            metavar="DATA",
            rich_help_panel=flags.DATA,
            help="Inputs that only the finalists see. Both are split off --data if left out.",
        ),
    ] = None,
    metric: flags.Metric = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            "--max-drop",
            metavar="1%|0.01",
            rich_help_panel=flags.GOAL,
            help="Accuracy that may be lost: 1% is relative to the original's score, 0.01 absolute. "
            "[dim]\\[default: 1%][/dim]",
        ),
    ] = None,
    objective: Annotated[
        ObjectiveChoice | None,
        typer.Option(
            "--objective",
            help="What to make small. [dim]\\[default: latency][/dim]",
            rich_help_panel=flags.GOAL,
        ),
    ] = None,
    conditions: flags.Conditions = None,
    rate: flags.Rate = None,
    load: flags.Load = None,
    max_latency: Annotated[
        float | None,
        typer.Option("--max-latency", metavar="MS", help="Limit of the median.", rich_help_panel=flags.GOAL),
    ] = None,
    max_p95: Annotated[
        float | None,
        typer.Option(
            "--max-p95", metavar="MS", help="Limit of the 95th percentile.", rich_help_panel=flags.GOAL
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option("--max-memory", metavar="BYTES", help="Peak RSS, as 64M.", rich_help_panel=flags.GOAL),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="BYTES", help="The file, as 8M.", rich_help_panel=flags.GOAL),
    ] = None,
    max_power: Annotated[
        float | None,
        typer.Option("--max-power", metavar="W", help="Limit of the power.", rich_help_panel=flags.GOAL),
    ] = None,
    max_cold_start: Annotated[
        float | None,
        typer.Option(
            "--max-cold-start",
            metavar="MS",
            help="Limit from process start to the first output.",
            rich_help_panel=flags.GOAL,
        ),
    ] = None,
    min_utilization: Annotated[
        str | None,
        typer.Option(
            "--min-utilization",
            metavar="10%",
            help="Least share of the board's peak arithmetic that is achieved.",
            rich_help_panel=flags.GOAL,
        ),
    ] = None,
    allow_worse: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-worse",
            metavar="latency|p95|memory|size|cold-start",
            rich_help_panel=flags.GOAL,
            help="Let the result be more than 5 % worse in this than the original. Repeat for several.",
        ),
    ] = None,
    shape: flags.Shape = None,
    allow_interface: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-interface",
            metavar="uint8-input|nhwc",
            rich_help_panel=flags.MODEL,
            help="Let the result take its input otherwise: bytes in place of floats, or channels last. "
            "Repeat for both.",
        ),
    ] = None,
    fixed: flags.Fixed = None,
    batch: flags.Batch = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar='30m|"40 trials"|0',
            rich_help_panel=flags.SEARCH,
            help="Time or measured trials; references and the final stage come on top. "
            "[dim]\\[default: 30m][/dim]",
        ),
    ] = None,
    effort: flags.Effort = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            metavar="NAME",
            autocompletion=names.complete_sampler,
            rich_help_panel=flags.SEARCH,
            help="Who proposes candidates. [dim]\\[default: ppo][/dim]",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            metavar="scratch|pretrained|FILE",
            rich_help_panel=flags.SEARCH,
            help="What the agent starts from. [dim]\\[default: scratch][/dim]",
        ),
    ] = None,
    runtime: Annotated[
        Literal["onnxruntime", "litert", "auto"] | None,
        typer.Option(
            "--runtime",
            rich_help_panel=flags.SEARCH,
            help="What runs the model; auto lets the search decide. [dim]\\[default: onnxruntime][/dim]",
        ),
    ] = None,
    threads: flags.Threads = None,
    cpus: flags.Cpus = None,
    require: flags.Require = None,
    wait: flags.Wait = None,
    seed: flags.Seed = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            rich_help_panel=flags.OUTPUT,
            help="Folder of the result. [dim]\\[default: edgeopt-out/MODEL-DEVICE][/dim]",
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start anew instead of resuming.", rich_help_panel=flags.OUTPUT),
    ] = False,
    structure: Annotated[
        bool | None,
        typer.Option(
            "--structure/--no-structure",
            rich_help_panel=flags.SEARCH,
            help="Also search the model's structure: widths, heads, ranks. Needs data. "
            "[dim]\\[default: no-structure][/dim]",
        ),
    ] = None,
    recover_budget: Annotated[
        str | None,
        typer.Option(
            "--recover-budget",
            metavar="5min",
            rich_help_panel=flags.SEARCH,
            help="Time in which the best changed structures learn from the original's outputs, after the "
            "search; needs --structure. [dim]\\[default: none][/dim]",
        ),
    ] = None,
    allow_unverified: Annotated[
        bool,
        typer.Option(
            "--allow-unverified", help="Search lossy decisions without data.", rich_help_panel=flags.GOAL
        ),
    ] = False,
    allow_modelled_energy: Annotated[
        bool,
        typer.Option(
            "--allow-modelled-energy",
            rich_help_panel=flags.GOAL,
            help="Accept an energy that is a model's, not a meter's.",
        ),
    ] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Search for a faster, smaller, cooler variant of a model, measuring each candidate on the board.

    The result is never slower than the best well-known recipe, and says how sure that is. Flags win over
    [cyan]edgeopt.toml[/cyan]. Repeating the command resumes.
    """
    from edgeopt.cli.live import view
    from edgeopt.cli.settings import optimize_options, settings
    from edgeopt.report.summary import summary

    said = settings(
        {
            ("model", "path"): model, ("model", "shape"): shape, ("model", "fixed"): fixed,
            ("model", "batch"): batch, ("model", "allow_interface"): allow_interface,
            ("data", "path"): data, ("data", "calibration"): calibration, ("data", "confirm"): confirm,
            ("data", "metric"): metric, ("data", "max_drop"): max_drop,
            ("objective", "name"): objective, ("objective", "conditions"): conditions,
            ("objective", "rate"): rate, ("objective", "load"): load, ("board", "cpus"): cpus,
            ("objective", "max_cold_start"): max_cold_start,
            ("objective", "min_utilization"): min_utilization,
            ("objective", "max_latency"): max_latency, ("objective", "max_p95"): max_p95,
            ("objective", "max_memory"): max_memory, ("objective", "max_size"): max_size,
            ("objective", "max_power"): max_power, ("objective", "allow_worse"): allow_worse,
            ("objective", "allow_modelled_energy"): allow_modelled_energy,
            ("search", "budget"): budget, ("search", "effort"): effort, ("search", "sampler"): sampler,
            ("search", "policy"): policy,
            ("search", "runtime"): runtime, ("search", "threads"): threads, ("search", "seed"): seed,
            ("search", "output"): output, ("search", "allow_unverified"): allow_unverified,
            ("search", "structure"): structure if structure is None else int(structure),
            ("search", "recover_budget"): recover_budget,
            ("board", "device"): device, ("board", "board"): board, ("board", "require"): require,
            ("board", "wait"): wait,
        },
        example=True,
    )  # fmt: skip
    command = shlex.join(["edgeopt", *sys.argv[1:]])
    options = optimize_options(said, fresh=fresh, command=command)
    remarks = []
    if options.is_example:
        remarks.append(
            f"no model was named and there is no edgeopt.toml: this is the bundled example {options.model}"
        )
    elif options.project:
        remarks.append(f"settings from {options.project}")

    from edgeopt.optimize import optimize as run

    with view(as_json=as_json, remarks=remarks) as observer:
        result = run(options, observer)
    document = result.document
    return Answer(
        document,
        lambda: summary(document, report=options.output / "report.html", objective=options.objective.name),
        result.exit_code,
    )
