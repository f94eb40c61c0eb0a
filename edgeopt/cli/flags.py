"""Options that several commands share, with their help and completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeopt.cli import names

EffortName = Literal["quick", "normal", "thorough"]
ProvenanceName = Literal["measured", "emulated"]

MAX_SEED = 2**32 - 1
"""What NumPy, PyTorch and the samplers all take."""

MODEL, DATA, GOAL, SEARCH, BOARD, OUTPUT = (
    "Model", "Data", "Goal and limits", "Search", "Board", "Output",
)  # fmt: skip


def examples(*lines: str) -> str:
    """The end of a command's help. Typer starts a new line at each empty one."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[cyan]$ {line}[/cyan]" for line in lines)])


Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="Kind of board: see [cyan]edgeopt devices list[/cyan].",
        autocompletion=names.complete_device, rich_help_panel=BOARD,
    ),
]  # fmt: skip
Board = Annotated[
    str | None,
    typer.Option(
        "--board", metavar="BOARD",
        help="Which unit to measure on: local, virtual, predicted, ssh://user@host:port, or a name of "
        "boards.toml; virtual:rpi5 names the device too. Left out: a configured board of the device, else a "
        "virtual one if its tools are there, else a prediction.",
        autocompletion=names.complete_board, rich_help_panel=BOARD,
    ),
]  # fmt: skip
Require = Annotated[
    ProvenanceName | None,
    typer.Option("--require", help="Exit 4 where figures would be weaker than this.", rich_help_panel=BOARD),
]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait", metavar="TIME", rich_help_panel=BOARD,
        help="How long to wait for a board that another has, that is off, or that the network loses. "
        "[dim]\\[default: 10m, and not for one that is off from the start][/dim]",
    ),
]  # fmt: skip
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DATA", rich_help_panel=DATA,
        help="Real inputs: an .npz, a folder of images or WAV files, or module:function.",
    ),
]  # fmt: skip
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric", metavar="METRIC", rich_help_panel=DATA,
        help="top1, f1, auc, spearman, cosine, agreement, mse, mae, or module:function.",
    ),
]  # fmt: skip
Shape = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="NAME=1,3,224,224", rich_help_panel=MODEL,
        help="Shape of an input that the model leaves open. Repeat for others.",
    ),
]  # fmt: skip
Fixed = Annotated[
    list[str] | None,
    typer.Option(
        "--fixed", metavar="NAME=VALUE|zeros", rich_help_panel=MODEL,
        help="Value of an input that is not in the data. Repeat for others.",
    ),
]  # fmt: skip
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        help="Samples per inference. [dim]\\[default: 1][/dim]",
        rich_help_panel=MODEL,
    ),
]
Effort = Annotated[
    EffortName | None,
    typer.Option(
        "--effort", help="How long each candidate is measured. [dim]\\[default: normal][/dim]",
        rich_help_panel=BOARD,
    ),
]  # fmt: skip
Conditions = Annotated[
    Literal["bench", "sustained", "app"] | None,
    typer.Option(
        "--conditions", rich_help_panel=GOAL,
        help="bench: cool and quiet; sustained: heat-soaked, throttling recorded; app: --rate, --load, "
        "--cpus. [dim]\\[default: bench][/dim]",
    ),
]  # fmt: skip
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate", metavar="HZ", rich_help_panel=GOAL,
        help="Inferences that the application asks for per second; one that waits is timed with its wait.",
    ),
]  # fmt: skip
Load = Annotated[
    str | None,
    typer.Option(
        "--load", metavar="30%", rich_help_panel=GOAL,
        help="Share of every core that other work takes meanwhile.",
    ),
]  # fmt: skip
Cpus = Annotated[
    str | None,
    typer.Option(
        "--cpus", metavar="LIST", rich_help_panel=BOARD, help="Pin the model to these cores, as 0-3 or 0,2."
    ),
]  # fmt: skip
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Fix the number of threads.", rich_help_panel=BOARD),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        max=MAX_SEED,
        help="Seed of everything random. [dim]\\[default: 0][/dim]",
        rich_help_panel=SEARCH,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON document.", rich_help_panel=OUTPUT)
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder that edgeopt optimize wrote.", show_default=False)
]
