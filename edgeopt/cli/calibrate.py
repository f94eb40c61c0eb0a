"""`edgeopt boards calibrate`: make the emulation of a device agree with a board of that kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt boards calibrate kitchen-pi a.onnx b.onnx c.onnx",
    "edgeopt boards calibrate ssh://pi@10.0.0.7 a.onnx b.onnx c.onnx --device rpi4",
)


def calibrate(
    board: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="The real board to agree with.", show_default=False)
    ],
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL…", help="Three or more, so that the fit can be judged.")
    ],
    device: flags.Device = None,
    effort: flags.Effort = None,
    shape: flags.Shape = None,
    as_json: flags.Json = False,
) -> Answer:
    """Fit the emulation of a device to measurements of a real board, on one thread and on all cores.

    The fitted profile is kept in $EDGEOPT_HOME/devices, where it goes before the one that ships.
    """
    from edgeopt.boards.inventory import Inventory
    from edgeopt.cli import settings as given
    from edgeopt.cli.live import view
    from edgeopt.measure import calibrate as run
    from edgeopt.options import MeasureOptions

    named = Inventory.load().boards.get(board)
    said = given.settings(
        {
            ("model", "shape"): shape, ("search", "effort"): effort, ("board", "board"): board,
            ("board", "device"): device or (named.device if named else None),
        }
    )  # fmt: skip
    options = MeasureOptions(
        models=tuple(given.existing(model) for model in models),
        board=given.board_options(said),
        data=given.data_options(said),
        effort=given.effort(said),
        threads=None,
        seed=given.seed(said),
        by_region=False,
    )
    with view(as_json=as_json) as observer:
        document = run(options, observer)
    return Answer(document, lambda: _shown(document))


def _shown(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table
    from edgeopt.report.figures import ms

    rows = [
        (row["name"], row["threads"], ms(row["measured_ms"]), ms(row["before_ms"]), ms(row["after_ms"]))
        for row in document["observations"]
    ]
    right = ("threads", "measured", "before", "after")
    judged = document["log_sigma"]
    verdict = (
        "too few models to judge the fit: the error bar stays as it is"
        if judged is None
        else f"each model left out of the fit in turn: ±{100 * (math.exp(judged) - 1):.0f} % (sigma)"
    )
    factors = ", ".join(f"{name} {value:.3g}" for name, value in document["factors"].items())
    lines = [Text(factors), Text(verdict), Text(f"written: {document['file']}")]
    return Group(table(("model", *right), rows, right=right), *lines)
