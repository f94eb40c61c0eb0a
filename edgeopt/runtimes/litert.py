"""LiteRT (TensorFlow Lite with XNNPACK): how its interpreters are set, and sessions on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import CandidateFailed, ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec

NAME: Final = "litert"
INSTALL = "ai-edge-litert"
"""What pip is asked for on a board."""

OLDEST = (1, 1)
SCHEMA = 3
"""Version of the file format: the only one that there has been since 2018."""

IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every file of that version."""


def supported(version: str) -> int:
    """Version of the file format that a release of `ai-edge-litert` loads.

    Raises:
        ConfigError: `version` is not a version, or older than the oldest release that was tried.

    Source: releases 1.1.0, 1.4.0, 2.0.3, 2.1.2 and 2.3.0 were given float and int8 files of the exporter
        that edgeopt uses, and run them all.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        raise ConfigError(f"{version!r} is not a version of LiteRT")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise ConfigError(f"LiteRT {version} is too old", hint=f"install 1.1 or later: {INSTALL}")
    return SCHEMA


def runner_options(options: Mapping[str, object]) -> dict[str, Any]:
    """How to make an interpreter, as a plain dictionary that can be sent to a board.

    Args:
        options: `threads` (int, 0 is as many as there are cores, as with ONNX Runtime; LiteRT's own default
            would be one), `xnnpack` (bool, default True: without it the reference kernels run).

    Raises:
        ConfigError: An option or a value that is not one of these.
    """
    known = {"threads": 0, "xnnpack": True}
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(f"LiteRT has no session option {unknown[0]!r}")
    threads, xnnpack = (options.get(name, default) for name, default in known.items())
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise ConfigError(f"session option threads = {threads!r} is not a number of threads")
    if not isinstance(xnnpack, bool):
        raise ConfigError(f"session option xnnpack = {xnnpack!r} is not a bool")
    return {"num_threads": threads, "xnnpack": xnnpack}


class Session:
    """A model loaded on this machine, to compute outputs with (never to time).

    A file that is not what it says can end the process: what nobody vouches for is loaded in a `Probe` first.

    Attributes:
        inputs: In the model's order.
        outputs: In the model's order; `run` returns them so.

    Raises:
        ConfigError: LiteRT is not installed here.
        ModelError: It refuses the model; the message is the first line of what it says.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __init__(self, model: Path | bytes, options: Mapping[str, object] | None = None) -> None:
        litert = _runtime()
        wanted = runner_options(options or {})
        kinds = litert.OpResolverType
        content = model.read_bytes() if isinstance(model, Path) else model
        if content[4:8] != IDENTIFIER:
            raise ModelError("LiteRT refuses the model: it is not a TensorFlow Lite file")
        try:
            self._interpreter = litert.Interpreter(
                model_content=content,
                num_threads=wanted["num_threads"] or _cores(),
                experimental_op_resolver_type=kinds.AUTO
                if wanted["xnnpack"]
                else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT refuses the model: {_short(error)}") from error
        details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.inputs, self.outputs = (tuple(map(_spec, side)) for side in details)
        self._indices = tuple([known["index"] for known in side] for side in details)
        self._shapes = {known["name"]: tuple(known["shape"]) for known in details[0]}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of one inference.

        Args:
            feeds: Every input of the model by name; further entries are ignored.

        Raises:
            CandidateFailed: The model cannot compute these inputs.
        """
        try:
            self._resize(feeds)
            for spec, index in zip(self.inputs, self._indices[0], strict=True):
                self._interpreter.set_tensor(index, np.ascontiguousarray(feeds[spec.name]))
            self._interpreter.invoke()
        except KeyError as error:
            raise CandidateFailed(f"the model's input {error} is missing") from error
        except (RuntimeError, ValueError) as error:
            raise CandidateFailed(f"LiteRT cannot run the model: {_short(error)}") from error
        return [self._interpreter.get_tensor(index) for index in self._indices[1]]

    def _resize(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Only sizes that the model leaves open can change."""
        changed = False
        for spec, index in zip(self.inputs, self._indices[0], strict=True):
            if spec.is_static or feeds[spec.name].shape == self._shapes[spec.name]:
                continue
            self._shapes[spec.name] = feeds[spec.name].shape
            self._interpreter.resize_tensor_input(index, list(feeds[spec.name].shape), strict=True)
            changed = True
        if changed:
            self._interpreter.allocate_tensors()


def version() -> str:
    """Of the runtime installed on this machine.

    Raises:
        ConfigError: It is not installed.
    """
    _runtime()
    return installed_version("ai-edge-litert")


def _runtime() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise ConfigError(
            f"LiteRT cannot be imported here: {error}", hint="install it: pip install 'edgeopt[litert]'"
        ) from error
    return interpreter


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _spec(known: Mapping[str, Any]) -> TensorSpec:
    shape = known.get("shape_signature", known["shape"])
    sizes = tuple(int(size) if size >= 0 else None for size in (shape if len(shape) else known["shape"]))
    return TensorSpec(str(known["name"]), np.dtype(known["dtype"]).name, sizes)


def _short(error: Exception) -> str:
    """The runtime's own sentence: without where in its sources it was said, and where to read on."""
    text = " ".join(line for line in str(error).splitlines() if line and not line.startswith("See "))
    text = re.sub(r"\S+\.(?:cc|h|c):\d+ ", "", text) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
