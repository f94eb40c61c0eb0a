"""`edgeopt boards calibrate`: ask a real board what its profile only claims."""

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
    "edgeopt boards calibrate kitchen-pi",
    "edgeopt boards calibrate local",
    "edgeopt boards calibrate ssh://pi@10.0.0.7 --device rpi4",
    "edgeopt boards calibrate kitchen-pi a.onnx b.onnx c.onnx",
)


def calibrate(
    board: Annotated[str, typer.Argument(metavar="NAME|URL", help="A real board.", show_default=False)],
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL…]",
            help="Also fit the emulation of the device to these: three or more, to judge the fit.",
        ),
    ] = None,
    device: flags.Device = None,
    effort: flags.Effort = None,
    shape: flags.Shape = None,
    wait: flags.Wait = None,
    as_json: flags.Json = False,
) -> Answer:
    """Measure what a board can do: matrix products, copying, dispatching a node; power, if it has a meter.

    Takes about two minutes, and five at most; what is not known by then is named. What was found is kept in
    $EDGEOPT_HOME/profiles, and goes before the facts of the profile for this board alone. With models, which
    take their own time, the factors of the device's emulation are fitted to the board, for virtual boards.
    """
    from edgeopt.boards.inventory import Inventory
    from edgeopt.calibrate import calibrate as run
    from edgeopt.calibrate import require_real
    from edgeopt.cli import settings as given
    from edgeopt.cli.live import view
    from edgeopt.options import MeasureOptions

    require_real(board)
    named = Inventory.load().boards.get(board)
    said = given.settings(
        {
            ("model", "shape"): shape, ("search", "effort"): effort, ("board", "board"): board,
            ("board", "device"): device or (named.device if named else None), ("board", "wait"): wait,
        }
    )  # fmt: skip
    options = MeasureOptions(
        models=tuple(given.existing(model) for model in models or ()),
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

    rows = [
        (
            row["fact"],
            f"{row['value']:.4g}",
            _number(row["profile"]),
            row["unit"],
            "doubtful" if row["doubtful"] else "",
        )
        for row in document["facts"]
    ]
    headings = ("fact", "measured", "profile", "unit", "profile is")
    parts: list[RenderableType] = [table(headings, rows, right=("measured", "profile"))]
    parts += [Text(f"not known: {one['fact']}: {one['reason']}", "yellow") for one in document["missing"]]
    parts.append(Text("Of arithmetic the profile knows the peak, which nothing reaches.", "dim"))
    parts.append(Text(f"kept for {document['board']}: {document['file']} ({document['seconds']:.0f} s)"))
    return Group(*parts, *(_fit(document["emulation"]) if document["emulation"] else ()))


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _fit(emulation: Mapping[str, Any]) -> list[RenderableType]:
    from rich.text import Text

    from edgeopt.cli.tables import table
    from edgeopt.report.figures import ms

    rows = [
        (row["name"], row["threads"], ms(row["measured_ms"]), ms(row["before_ms"]), ms(row["after_ms"]))
        for row in emulation["observations"]
    ]
    right = ("threads", "measured", "before", "after")
    judged = emulation["log_sigma"]
    verdict = (
        "too few models to judge the fit: the error bar stays as it is"
        if judged is None
        else f"each model left out of the fit in turn: ±{100 * (math.exp(judged) - 1):.0f} % (sigma)"
    )
    factors = ", ".join(f"{name} {value:.3g}" for name, value in emulation["factors"].items())
    lines = [Text(factors), Text(verdict), Text(f"kept for virtual boards: {emulation['file']}")]
    return [table(("model", *right), rows, right=right), *lines]
