"""`edgeopt measure`: models as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt measure model.onnx --device local --by-region",
    "edgeopt measure model.onnx --board virtual:rpi4 --by-region",
    "edgeopt measure a.onnx b.onnx --board ssh://pi@10.0.0.7 --device rpi4 --json > now.json",
    'edgeopt measure a.onnx --device local --against before.json --fail-if "p50>+3%"',
)

REGRESSION = 7


def measure(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="The first is the control.")],
    device: flags.Device = None,
    board: flags.Board = None,
    by_region: Annotated[
        bool, typer.Option("--by-region", help="Also the time of each region of the graph.")
    ] = False,
    data: flags.Data = None,
    shape: flags.Shape = None,
    fixed: flags.Fixed = None,
    threads: flags.Threads = None,
    effort: flags.Effort = None,
    seed: flags.Seed = None,
    require: flags.Require = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="An earlier answer of measure --json to compare with."
        ),
    ] = None,
    fail_if: Annotated[
        str | None, typer.Option("--fail-if", metavar='"p50>+3%"', help="Exit 7 if this got worse.")
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Measure models on a board, in turns, each in fresh processes."""
    from edgeopt.cli import settings as given
    from edgeopt.cli.live import view
    from edgeopt.options import MeasureOptions
    from edgeopt.report.regression import Condition, read_measurements, regressions

    if (against is None) != (fail_if is None):
        raise ConfigError(
            "--against and --fail-if belong together", hint='--against FILE --fail-if "p50>+3%"'
        )
    condition = Condition.parse(fail_if) if fail_if else None
    before = read_measurements(against) if against else None
    said = given.settings(
        {
            ("model", "shape"): shape, ("model", "fixed"): fixed, ("data", "path"): data,
            ("search", "threads"): threads, ("search", "effort"): effort, ("search", "seed"): seed,
            ("board", "device"): device, ("board", "board"): board, ("board", "require"): require,
        }
    )  # fmt: skip
    options = MeasureOptions(
        models=tuple(given.existing(model) for model in models),
        board=given.board_options(said),
        data=given.data_options(said),
        effort=given.effort(said),
        threads=given.threads(said),
        seed=given.seed(said),
        by_region=by_region,
    )

    from edgeopt.measure import measure as run

    with view(as_json=as_json) as observer:
        document = run(options, observer)
    if condition and before:
        document["regressions"] = regressions(document, before, condition)
    worse = document.get("regressions")
    return Answer(document, lambda: _show(document), REGRESSION if worse else 0)


def _show(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table
    from edgeopt.report.figures import ms, percent
    from edgeopt.report.summary import trials_table

    rows = document["measurements"]
    parts: list[RenderableType] = [
        Text(
            f"worse: {r['figure']} of {r['name']} {percent(r['growth'])}, {percent(r['allowed'])} allowed",
            "red",
        )
        for r in document.get("regressions", ())
    ]
    parts.append(trials_table(rows, rows[0]))
    for c in document["comparisons"]:
        parts.append(Text(_comparison(c, document["provenance"] == "measured")))
    for row in rows:
        if row["regions"]:
            total = sum(region["ms"] for region in row["regions"]) or 1.0
            body = [
                (r["region"] or "between regions", r["operators"], ms(r["ms"]), f"{r['ms'] / total:.1%}")
                for r in row["regions"]
            ]
            parts.append(
                table(
                    ("region", "operators", "time", "share"), body, title=row["name"], right=("time", "share")
                )
            )
    return Group(*parts)


def _comparison(c: Mapping[str, Any], is_measured: bool) -> str:
    what = "95 %" if is_measured else "model error"
    interval = f" ({what}: {c['ci95'][0]:.3f}–{c['ci95'][1]:.3f})" if c["ci95"] else ""
    beyond = {True: "", False: ": no difference beyond the noise", None: ": no interval is known"}
    if c["tie"]:
        return f"{c['a']} and {c['b']} are a tie: {c['ratio_p50']:.3f} of the time{interval}"
    return f"{c['a']} takes {c['ratio_p50']:.3f} of the time of {c['b']}{interval}{beyond[c['significant']]}"
