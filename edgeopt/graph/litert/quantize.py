"""Quantizes exported LiteRT files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.scratch import scratch
from edgeopt.graph.litert.environment import Environment
from edgeopt.graph.litert.export import run
from edgeopt.graph.litert.interface import Feeds
from edgeopt.graph.litert.made import Made, Shelf
from edgeopt.graph.litert.tools import DEADLINE_S, Tools, write_samples

QUANTIZER_VERSION = 1
"""Raise it whenever the same file and samples give another one."""

SKIPPED = ("INPUT", "OUTPUT", "DIV", "MAXIMUM", "PADV2", "SELECT", "SELECT_V2")
"""Left in float32: inputs and outputs, so that a program that feeds the model does not notice; divisions, as
LiteRT does not run them where a small divisor rounds to zero; and operators that may combine a tensor with a
constant of another rank, which litert-quantizer 0.11 cannot quantize."""


class Samples(Protocol):
    """The calibration part of the data (`data.split.Part`)."""

    @property
    def digest(self) -> str: ...

    def samples(self) -> Iterable[Feeds]: ...


def static_int8(
    exported: Made, part: Samples, tools: Environment, folder: Path, *, deadline_s: float = DEADLINE_S
) -> Made:
    """Weights in int8 per output channel, activations in int8 per tensor, by the ranges that `part` shows.

    Weights of BATCH_MATMUL are in int8 per tensor: LiteRT's kernels heed one scale only.

    Inputs and outputs keep their types. Operators that LiteRT cannot compute in int8 stay in float32.

    Args:
        exported: In float32, see `export`.
        part: In the layout of the ONNX model.
        folder: Receives `<sha256>.tflite`, and the tools' log if they fail.

    Raises:
        DataError: There is no sample.
        CandidateFailed: The file cannot be quantized, or cannot be run then; the tools' log is named.
        EdgeoptError: The tools cannot be used, or there is no disk.
    """
    shelf = Shelf(folder)
    key = value_digest(
        "litert-static-int8", QUANTIZER_VERSION, tools.digest, exported.sha256, part.digest, SKIPPED
    )
    if (known := shelf.find(key)) is not None:
        return known
    driver = Tools(tools, shelf.log(key), "quantizing for LiteRT", deadline_s)
    names = [port.name for port in exported.interface.inputs]
    with scratch() as temporary:
        target, samples = temporary / "model.tflite", temporary / "samples"
        samples.mkdir()
        if not write_samples(samples, map(exported.interface.feeds, part.samples()), names):
            raise DataError("there is no sample to calibrate with")
        step = {"step": "quantize", "model": str(exported.path), "target": str(target)}
        driver.do(step | {"samples": str(samples), "names": names, "skipped": SKIPPED})
        run(target, exported.interface, [next(iter(part.samples()))], driver)
        return shelf.put(key, target, exported.interface)
