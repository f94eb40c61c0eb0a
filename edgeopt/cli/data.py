"""`edgeopt data`: is the data what you think it is?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.data.check import Row

app = typer.Typer(
    help="Real inputs for calibration and accuracy.",
    epilog=flags.examples("edgeopt data check model.onnx --data images/"),
)


@app.callback()
def group() -> None:
    """Keep `check` a sub-command, also while it is the only one."""


@app.command(epilog=flags.examples("edgeopt data check", "edgeopt data check model.onnx --data val.npz"))
def check(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="An ONNX model. Left out: that of edgeopt.toml, else the example."
        ),
    ] = None,
    data: flags.Data = None,
    shape: flags.Shape = None,
    fixed: flags.Fixed = None,
    as_json: flags.Json = False,
) -> Answer:
    """Show ten decoded samples with the model's answers."""
    from dataclasses import replace

    from edgeopt.cli.settings import data_options, model_path, settings
    from edgeopt.data.check import check as look
    from edgeopt.data.fixed import parse_fixed, with_state
    from edgeopt.data.preprocess import Preprocess
    from edgeopt.data.source import open_data
    from edgeopt.graph.model import load
    from edgeopt.runtimes.onnxruntime import Session

    said = settings(
        {
            ("model", "path"): model,
            ("data", "path"): data,
            ("model", "shape"): shape,
            ("model", "fixed"): fixed,
        },
        example=True,
    )
    options = data_options(said)
    if options.search is None:
        raise ConfigError("which data?", hint="edgeopt data check MODEL --data FILE|FOLDER|module:function")
    loaded = load(model_path(said))
    inputs = [replace(spec, shape=options.shapes.get(spec.name, spec.shape)) for spec in loaded.inputs]
    dataset = open_data(
        options.search,
        inputs,
        preprocess=Preprocess.parse(options.preprocess),
        fixed=with_state(parse_fixed(options.fixed), options.state),
        base=options.base,
    )
    rows = look(dataset, Session(loaded.path).run)
    document = {
        "model": str(loaded.path),
        "data": options.search,
        "samples": len(dataset),
        "labels": dataset.labels is not None,
        "groups": dataset.groups is not None,
        "rows": [asdict(row) for row in rows],
    }
    return Answer(document, lambda: _show(document, rows))


def _show(document: dict[str, Any], rows: list[Row]) -> RenderableType:
    from rich.console import Group

    from edgeopt.cli.tables import table

    labels = "with labels" if document["labels"] else "without labels"
    title = f"{document['data']}: {document['samples']} samples {labels}"
    body = [
        (
            row.index,
            "\n".join(
                f"{i.name} {i.dtype}{list(i.shape)} {i.low:.4g} … {i.high:.4g}, mean {i.mean:.4g}"
                for i in row.inputs
            ),
            row.class_name or row.label,
            row.answer,
            None if row.confidence is None else f"{row.confidence:.1%}",
            ", ".join(f"{value:.4g}" for value in row.values),
        )
        for row in rows
    ]
    headings = ("sample", "inputs (range, mean)", "label", "answer", "confidence", "first outputs")
    return Group(table(headings, body, title=title, right=("sample",)))
