"""Exports a frozen ONNX model to LiteRT in float32, and checks that it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, ModelError, RewriteError
from edgeopt.core.scratch import scratch
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph import equivalence
from edgeopt.graph.litert.files import interface as read_interface
from edgeopt.graph.litert.interface import Feeds, Interface, shows_layout
from edgeopt.graph.litert.made import Made, Shelf
from edgeopt.graph.litert.tools import DEADLINE_S, Tools, read_outputs, write_samples
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import Model, to_bytes
from edgeopt.runtimes.onnxruntime import Session

EXPORTER_VERSION = 2
"""Raise it whenever the same model gives another file."""

CHECKED_SAMPLES = 4
"""Of the data; `equivalence.RANDOM_SAMPLES` random ones come on top."""


def export(
    model: Model,
    worker: Worker,
    folder: Path,
    *,
    samples: Iterable[Feeds] = (),
    fixed: Feeds | None = None,
    channels_last: bool = False,
    deadline_s: float = DEADLINE_S,
) -> Made:
    """The model as a LiteRT file that keeps its names, and its layout unless told otherwise.

    What was exported once from the same graph and shapes by the same tools is not exported again.

    Args:
        model: Frozen.
        worker: The tools.
        folder: Receives `<sha256>.tflite`, and the tools' log if they fail.
        samples: Real inputs, of which the first few are compared with ONNX Runtime's outputs.
        fixed: Inputs that only take certain values: random ones would be refused.
        channels_last: Let inputs (N, C, ...) be (N, ..., C), which saves a transposition; those in whose
            shape it could not be seen keep their layout. Outputs always keep theirs.

    Raises:
        ModelError: The model leaves a shape open.
        CandidateFailed: It does not convert, or the file computes something else; the tools' log is named.
        EdgeoptError: The tools cannot be used, or there is no disk.
    """
    key = value_digest(model.digest, [(spec.name, spec.shape) for spec in model.inputs])
    ports = Ports(model.inputs, model.outputs)
    return export_graph(
        lambda: to_bytes(model.ir), ports, key, worker, folder,
        samples=samples, fixed=fixed, channels_last=channels_last, deadline_s=deadline_s,
    )  # fmt: skip


class Ports(NamedTuple):
    """What a frozen graph takes and gives, in order."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]


def export_graph(
    content: Callable[[], bytes],
    ports: Ports,
    digest: str,
    worker: Worker,
    folder: Path,
    *,
    samples: Iterable[Feeds] = (),
    fixed: Feeds | None = None,
    channels_last: bool = False,
    deadline_s: float = DEADLINE_S,
) -> Made:
    """As `export`, of a graph that is in no file.

    Args:
        content: Serializes it; not asked where it was exported before.
        digest: Of all that it depends on.
    """
    if open_inputs := [spec.name for spec in ports.inputs if not spec.is_static]:
        raise ModelError(
            f"input {open_inputs[0]!r} has an open shape", hint="give it: --shape NAME=1,3,224,224"
        )
    if not ports.inputs:
        raise CandidateFailed("a model without inputs is not converted to LiteRT")
    shelf = Shelf(folder)
    key = value_digest("litert", EXPORTER_VERSION, worker.environment.digest, digest, channels_last)
    if (known := shelf.find(key)) is not None:
        return known
    original = content()
    driver = Tools(worker, shelf.log(key), "converting to LiteRT", deadline_s)
    keep = [spec.name for spec in ports.inputs if not (channels_last and shows_layout(spec))]
    with scratch() as temporary:
        source, target = temporary / "model.onnx", temporary / "model.tflite"
        source.write_bytes(original)
        driver.do(
            {
                "step": "export",
                "model": str(source),
                "keep": keep,
                "target": str(target),
                "folder": f"{temporary}/made",
                "outputs": [spec.name for spec in ports.outputs],
            }
        )
        found = Interface.between(ports, read_interface(target.read_bytes(), "the file"))
        randoms = equivalence.random_feeds(ports.inputs, equivalence.RANDOM_SAMPLES, seed=0)
        checked = [{**feeds, **(fixed or {})} for feeds in randoms] + list(islice(samples, CHECKED_SAMPLES))
        check(original, [spec.name for spec in ports.outputs], target, found, checked, driver)
        return shelf.put(key, target, found)


def check(
    original: bytes,
    names: Sequence[str],
    file: Path,
    found: Interface,
    samples: Sequence[Feeds],
    driver: Tools,
) -> None:
    """Compare a float file with the ONNX model on samples, in the layout and types of the model.

    Raises:
        CandidateFailed: One cannot run a sample, or an output differs; names it and the worst error.
    """
    session = Session(original)
    actual = run(file, found, samples, driver)
    for feeds, outputs in zip(samples, actual, strict=True):
        try:
            equivalence.compare(names, session.run(feeds), outputs, equivalence.RTOL)
        except RewriteError as error:
            raise CandidateFailed(f"the LiteRT file computes something else: {error.message}") from error


def run(
    file: Path, found: Interface, samples: Sequence[Feeds], driver: Tools
) -> list[list[NDArray[np.generic]]]:
    """Outputs of a LiteRT file for the model's inputs, in the model's order, layout and types."""
    with scratch() as temporary:
        asked, answered = temporary / "asked", temporary / "answered"
        asked.mkdir()
        answered.mkdir()
        names = [port.name for port in found.inputs]
        write_samples(asked, map(found.feeds, samples), names)
        (count,) = driver.do(
            {
                "step": "run",
                "model": str(file),
                "samples": str(asked),
                "names": names,
                "target": str(answered),
            }
        )
        return [found.answers(outputs) for outputs in read_outputs(answered, count, len(found.outputs))]
