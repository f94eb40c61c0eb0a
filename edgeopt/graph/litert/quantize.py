"""Quantizes exported LiteRT files: the whole, or each region by a recipe of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.files import write_atomically
from edgeopt.core.scratch import scratch
from edgeopt.graph.litert.export import run
from edgeopt.graph.litert.interface import Feeds
from edgeopt.graph.litert.made import Made, Shelf
from edgeopt.graph.litert.recipes import RECIPES
from edgeopt.graph.litert.tools import DEADLINE_S, Tools, write_samples
from edgeopt.graph.litert.worker import Worker

QUANTIZER_VERSION = 2
"""Raise it whenever the same file and samples give another one."""

SKIPPED = ("INPUT", "OUTPUT", "DIV", "MAXIMUM", "PADV2", "SELECT", "SELECT_V2")
"""Left in float32: inputs and outputs, so that a program that feeds the model does not notice; divisions, as
LiteRT does not run them where a small divisor rounds to zero; and operators that may combine a tensor with a
constant of another rank, which litert-quantizer 0.11 cannot quantize."""

EVERYTHING = ".*"


class Samples(Protocol):
    """The calibration part of the data (`data.split.Part`)."""

    @property
    def digest(self) -> str: ...

    def samples(self) -> Iterable[Feeds]: ...


def quantize(
    exported: Made,
    recipes: Mapping[str, str],
    part: Samples,
    worker: Worker,
    folder: Path,
    *,
    deadline_s: float = DEADLINE_S,
) -> Made:
    """Each operator by the last recipe whose pattern is found in the name of its first output.

    Where a recipe does not fit an operator, the one before it stands, or float32. Inputs and outputs keep
    their types. Weights are quantized per output channel, those of BATCH_MATMUL per tensor: LiteRT's kernels
    heed one scale only. Ranges of activations are the smallest and largest values that `part` shows; they are
    found once for a file.

    Args:
        exported: In float32, see `export`.
        recipes: Name of a recipe by regular expression; `EVERYTHING` fits all operators.
        part: In the layout of the ONNX model.
        folder: Receives `<sha256>.tflite`, and the tools' log if they fail.

    Raises:
        DataError: There is no sample.
        CandidateFailed: The file cannot be quantized, or cannot be run then; the tools' log is named.
        EdgeoptError: The tools cannot be used, or there is no disk.
    """
    shelf = Shelf(folder)
    is_static = any(RECIPES[name].is_static for name in recipes.values())
    key = value_digest(
        "litert-quantized", QUANTIZER_VERSION, worker.environment.digest, exported.sha256,
        part.digest if is_static else None, list(recipes.items()), SKIPPED,
    )  # fmt: skip
    if (known := shelf.find(key)) is not None:
        return known
    driver = Tools(worker, shelf.log(key), "quantizing for LiteRT", deadline_s)
    calibrated = _ranges(exported, part, driver, shelf) if is_static else None
    with scratch() as temporary:
        target = temporary / "model.tflite"
        driver.do(
            {
                "step": "quantize",
                "model": str(exported.path),
                "target": str(target),
                "recipes": list(recipes.items()),
                "calibrated": str(calibrated) if calibrated else None,
                "skipped": SKIPPED,
            }
        )
        run(target, exported.interface, _first(part), driver)
        return shelf.put(key, target, exported.interface)


def static_int8(
    exported: Made, part: Samples, worker: Worker, folder: Path, *, deadline_s: float = DEADLINE_S
) -> Made:
    """The whole file with weights and activations in int8: see `quantize`."""
    return quantize(
        exported, {EVERYTHING: "int8_static_channel"}, part, worker, folder, deadline_s=deadline_s
    )


def _ranges(exported: Made, part: Samples, driver: Tools, shelf: Shelf) -> Path:
    """The file with the ranges of all tensors: made once, whatever is quantized by it."""
    key = value_digest(
        "litert-ranges", QUANTIZER_VERSION, driver.worker.environment.digest, exported.sha256, part.digest
    )
    path = shelf.folder / f"ranges-{key[:32]}.npz"
    if path.is_file():
        return path
    names = [port.name for port in exported.interface.inputs]
    with scratch() as temporary:
        samples, target = temporary / "samples", temporary / "ranges.npz"
        samples.mkdir()
        if not write_samples(samples, map(exported.interface.feeds, part.samples()), names):
            raise DataError("there is no sample to calibrate with")
        step = {"step": "ranges", "model": str(exported.path), "target": str(target)}
        driver.do(step | {"samples": str(samples), "names": names})
        write_atomically(path, target.read_bytes())
    return path


def _first(part: Samples) -> list[Feeds]:
    for feeds in part.samples():
        return [feeds]
    raise DataError("there is no sample to run the quantized file with")
