"""`edgeopt init`: a project file to start from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeopt.cli import flags
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError
from edgeopt.project import FILE_NAME

if TYPE_CHECKING:
    from edgeopt.core.tensor import TensorSpec

EPILOG = flags.examples(
    "edgeopt init model.onnx",
    "edgeopt init model.onnx --device rpi4 --data images/",
    "edgeopt init model.onnx --force",
)


def init(
    model: Annotated[Path, typer.Argument(help="An ONNX model.", show_default=False)],
    device: flags.Device = None,
    data: flags.Data = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an edgeopt.toml that is there.")] = False,
    as_json: flags.Json = False,
) -> Answer:
    """Write a commented [cyan]edgeopt.toml[/cyan] for a model into the working folder."""
    from edgeopt.cli import names
    from edgeopt.cli.settings import existing
    from edgeopt.graph.model import load
    from edgeopt.project import source

    target = Path.cwd() / FILE_NAME
    if target.exists() and not force:
        raise ConfigError(f"{target} is there already", hint="--force overwrites it")
    if device is not None:
        names.known("device", device, names.devices())
    if data is not None:
        source(data, Path.cwd())
    loaded = load(existing(model))
    text = project_text(os.path.relpath(loaded.path), loaded.inputs, device=device or "local", data=data)
    scratch = target.with_suffix(".toml.part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(target)
    document = {
        "project": str(target),
        "model": str(loaded.path),
        "inputs": [str(spec) for spec in loaded.inputs],
    }
    return Answer(document, lambda: f"wrote {target}\nnext: look through it, then run edgeopt optimize")


def project_text(path: str, inputs: Sequence[TensorSpec], *, device: str, data: str | None) -> str:
    """A project file for a model with these inputs. It reads back as it stands."""
    described = "\n".join(f"#   {_comment(str(spec))}" for spec in inputs)
    return f"""\
# What edgeopt optimize works on. Flags win over this file; paths are relative to it.

[model]
path = {_text(path)}
# Inputs:
{described}
{_shapes(inputs)}
# Value of an input that is not in the data:
# fixed = {{ {_key(inputs[-1].name) if inputs else "name"} = "zeros" }}

[data]
# Without data only exact rewrites and runtime settings are searched.
# An .npz with one array per input (and labels), a folder of images or WAV files, or module:function.
{"" if data else "# "}path = {_text(data or "data.npz")}
# calibration = "calibration.npz"  # left out: split off path
# confirm = "confirm.npz"          # left out: split off path; only the finalists see it
# metric = "top1"                  # top1 f1 auc spearman cosine agreement mse mae or module:function
max_drop = "1%"                    # of the original's score; 0.01 is absolute

# [data.preprocess]                # for folders of images or WAV files
# resize = [224, 224]
# layout = "NCHW"
# scale = 0.00392156862745098      # 1/255
# mean = [0.485, 0.456, 0.406]
# std = [0.229, 0.224, 0.225]

[objective]
name = "latency"                   # latency p95 cold-start energy memory size utilization
# max_size = "8M"
# max_memory = "256M"
# max_p95 = 20                     # ms
# allow_worse = ["memory"]         # more than 5 % worse than the original; latency p95 memory size cold-start

[search]
budget = "30m"                     # or "40 trials", or 0 for the well-known recipes only
# seed = 0

[board]
device = {_text(device)}
# board = "ssh://pi@raspberrypi.local"  # left out: a configured board of the device
"""


def _shapes(inputs: Sequence[TensorSpec]) -> str:
    is_open = [spec for spec in inputs if not spec.is_static]
    if not is_open:
        return "# Every shape is settled."
    entries = ", ".join(
        f"{_key(spec.name)} = [{', '.join(str(1 if size is None else size) for size in spec.shape)}]"
        for spec in is_open
    )
    return (
        f"# The model leaves sizes open (?). Say them here, or the data says them:\n# shape = {{ {entries} }}"
    )


def _text(text: str) -> str:
    # JSON's escapes are TOML's; the one character that only TOML wants escaped is DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)


def _comment(text: str) -> str:
    return _text(text)[1:-1]
