"""`edgeopt measure`: models as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError, EdgeoptError

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples(
    "edgeopt measure model.onnx --device local --by-region",
    "edgeopt measure model.onnx --board virtual:rpi4 --by-region",
    "edgeopt measure a.onnx b.onnx --board ssh://pi@10.0.0.7 --device rpi4 --json > main.json",
    'edgeopt measure a.onnx b.onnx --device rpi4 --against main.json --fail-if "p50>+3%" '
    '--fail-if "size>+1%" --junit gate.xml',
)


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
    conditions: flags.Conditions = None,
    rate: flags.Rate = None,
    load: flags.Load = None,
    cpus: flags.Cpus = None,
    seed: flags.Seed = None,
    require: flags.Require = None,
    wait: flags.Wait = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="An earlier answer of measure --json to compare with."
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar='"p50>+3%"',
            help="Exit 7 if this grew by more, 4 if that cannot be told. Repeat for others: p50 p90 p95 p99 "
            "cold-start memory size energy power.",
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit's XML, for CI.")
    ] = None,
    as_json: flags.Json = False,
) -> Answer:
    """Measure models on a board, in turns, each in fresh processes, and say which of them differ.

    Exit 3 where none of them runs on the board, 4 where noise left none with a figure: the answer says why.
    """
    from edgeopt.cli import settings as given
    from edgeopt.cli.gate import Gate
    from edgeopt.cli.live import view
    from edgeopt.measure import measure as run
    from edgeopt.measure import names_of
    from edgeopt.options import MeasureOptions

    if (against is None) != (not fail_if):
        raise ConfigError(
            "--against and --fail-if belong together", hint='--against FILE --fail-if "p50>+3%"'
        )
    if junit:
        from edgeopt.report import junit as xml

        xml.require_place(junit)
    gate = Gate.of(against, fail_if) if against and fail_if else None
    said = given.settings(
        {
            ("model", "shape"): shape, ("model", "fixed"): fixed, ("data", "path"): data,
            ("objective", "conditions"): conditions, ("objective", "rate"): rate, ("objective", "load"): load,
            ("board", "cpus"): cpus,
            ("search", "threads"): threads, ("search", "effort"): effort, ("search", "seed"): seed,
            ("board", "device"): device, ("board", "board"): board, ("board", "require"): require,
            ("board", "wait"): wait,
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
        setting=given.setting(said),
    )
    names = names_of(options.models)
    if gate:
        gate.before_connecting(names, options.board.device, options.setting)
    try:
        with view(as_json=as_json) as observer:
            document = run(options, observer, gate.before_measuring if gate else None)
        code = gate.judge(document) if gate else _without_a_figure(document)
    except EdgeoptError as error:
        if junit:
            xml.write_failed(junit, names, error)
        raise
    if junit:
        xml.write(junit, document)
    return Answer(document, lambda: _show(document), code)


def _without_a_figure(document: dict[str, Any]) -> int:
    """The exit code of an answer: not 0 where no model has a figure, and then it has an `error`, too."""
    from edgeopt.core.errors import CandidateUnsteady

    rows = document["measurements"]
    if any(row["state"] != "FAILED" for row in rows):
        return 0
    unsteady = [row for row in rows if row["failure"] == CandidateUnsteady.kind]
    row = (unsteady or rows)[0]
    hint = "measure it again when the board is quiet" if unsteady else "the other models ran no better"
    document["error"] = {
        "kind": row["failure"],
        "message": f"{row['name']} could not be measured: {row['reason']}",
        "hint": hint if unsteady or len(rows) > 1 else None,
    }
    return 4 if unsteady else 3


def _show(document: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.gate import shown
    from edgeopt.cli.tables import table
    from edgeopt.report.figures import ms
    from edgeopt.report.trials import TrialsTable

    rows = document["measurements"]
    parts: list[RenderableType] = [*shown(document.get("gate")), TrialsTable(rows, rows[0])]
    if "error" in document and "gate" not in document:
        parts.append(Text(f"error: {document['error']['message']}", "red"))
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
    beyond = {
        True: ": a significant difference",
        False: ": no difference beyond the noise",
        None: ": no interval is known",
    }
    if c["tie"]:
        return f"{c['a']} and {c['b']} are a tie: {c['ratio_p50']:.3f} of the time{interval}"
    return f"{c['a']} takes {c['ratio_p50']:.3f} of the time of {c['b']}{interval}{beyond[c['significant']]}"
