"""ONNX Runtime: which models it takes, how its sessions are set, and sessions on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import CandidateFailed, ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec

NAME = "onnxruntime"
INSTALL = "onnxruntime<1.29"
"""What pip is asked for on a board; 1.29 and later look up a telemetry host at import."""

LEVELS = {"disable": 0, "basic": 1, "extended": 2, "all": 99}
"""`ort.GraphOptimizationLevel` by the names that edgeopt's options use."""

SUPPORTED: dict[tuple[int, int], tuple[int, int]] = {
    (1, 16): (19, 9),
    (1, 17): (20, 9),
    (1, 18): (21, 10),
    (1, 19): (21, 10),
    (1, 20): (21, 10),
    (1, 21): (22, 10),
    (1, 22): (22, 10),
    (1, 23): (23, 11),
    (1, 24): (25, 13),
    (1, 25): (26, 13),
    (1, 26): (26, 13),
    (1, 27): (26, 13),
    (1, 28): (26, 13),
}
"""Highest (opset of the default domain, IR version) that a release loads."""

_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "bool": "bool",
    "string": "object",
}


def supported(version: str) -> tuple[int, int]:
    """Highest opset of the default domain, and highest IR version, that `version` loads.

    A release newer than the table takes at least what the newest one in it takes.

    Raises:
        ConfigError: `version` is not a version, or older than the oldest release in the table.

    Source: each release was given models of rising opset and IR version, and these are the last that it
        loaded (the last patch release of each: 1.16.3, 1.17.3, ..., 1.28.0).
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        raise ConfigError(f"{version!r} is not a version of onnxruntime")
    release = (int(found[1]), int(found[2]))
    if release < min(SUPPORTED):
        raise ConfigError(f"onnxruntime {version} is too old", hint="install 1.16 or later")
    return SUPPORTED[min(release, max(SUPPORTED))]


def runner_options(options: Mapping[str, object]) -> dict[str, Any]:
    """What to set on `ort.SessionOptions`, as a plain dictionary that can be sent to a board.

    Args:
        options: `threads` (int, 0 is the runtime's default), `graph_optimization_level` (a key of
            `LEVELS`, default `all`), `allow_spinning` (bool, default True).

    Raises:
        ConfigError: An option or a value that is not one of these.
    """
    known = {"threads": 0, "graph_optimization_level": "all", "allow_spinning": True}
    if unknown := sorted(options.keys() - known.keys()):
        raise ConfigError(f"onnxruntime has no session option {unknown[0]!r}")
    threads, level, spinning = (options.get(name, default) for name, default in known.items())
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise ConfigError(f"session option threads = {threads!r} is not a number of threads")
    if level not in LEVELS:
        raise ConfigError(f"session option graph_optimization_level = {level!r} is not one of {list(LEVELS)}")
    if not isinstance(spinning, bool):
        raise ConfigError(f"session option allow_spinning = {spinning!r} is not a bool")
    return {
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "graph_optimization_level": LEVELS[str(level)],
        "config": {"session.intra_op.allow_spinning": "1" if spinning else "0"},
    }


class Session:
    """A model loaded on this machine, to compute outputs with (never to time).

    Accuracy is judged at the graph optimization level that the board will use: it changes rounding.

    Attributes:
        inputs: In the model's order.
        outputs: In the model's order; `run` returns them so.

    Raises:
        ModelError: The runtime refuses the model; the message is the first line of what it says.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __init__(self, model: Path | bytes, options: Mapping[str, object] | None = None) -> None:
        ort = _runtime()
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = ort.InferenceSession(
                source, _session_options(ort, options or {}), providers=["CPUExecutionProvider"]
            )
        except ConfigError:
            raise
        except Exception as error:  # the runtime's exceptions share no base class
            raise ModelError(f"onnxruntime refuses the model: {_short(error)}") from error
        self.inputs = tuple(_spec(argument) for argument in self._session.get_inputs())
        self.outputs = tuple(_spec(argument) for argument in self._session.get_outputs())

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of one inference.

        Args:
            feeds: Every input of the model by name; further entries are ignored.

        Raises:
            CandidateFailed: The model cannot compute these inputs.
        """
        try:
            return list(self._session.run(None, {spec.name: feeds[spec.name] for spec in self.inputs}))
        except KeyError as error:
            raise CandidateFailed(f"the model's input {error} is missing") from error
        except Exception as error:
            raise CandidateFailed(f"onnxruntime cannot run the model: {_short(error)}") from error


def version() -> str:
    """Of the runtime installed on this machine."""
    return str(_runtime().__version__)


def _runtime() -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # what matters is raised as an exception
    return onnxruntime


def _session_options(ort: Any, options: Mapping[str, object]) -> Any:
    wanted = runner_options(options)
    session = ort.SessionOptions()
    session.log_severity_level = 4
    session.intra_op_num_threads = wanted["intra_op_num_threads"]
    session.inter_op_num_threads = wanted["inter_op_num_threads"]
    session.graph_optimization_level = ort.GraphOptimizationLevel(wanted["graph_optimization_level"])
    for key, value in wanted["config"].items():
        session.add_session_config_entry(key, value)
    return session


def _spec(argument: Any) -> TensorSpec:
    found = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    if not found or found[1] not in _DTYPES:
        raise ModelError(f"{argument.name} is a {argument.type}, which edgeopt cannot feed")
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape or ())
    return TensorSpec(argument.name, np.dtype(_DTYPES[found[1]]).name, shape)


def _short(error: Exception) -> str:
    """The runtime's own sentence: without its error code prefix, file names and stack."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first)
    text = re.sub(r"/\S+\.(cc|h):\d+ ", "", text)
    text = re.sub(r"^\S.*onnxruntime::.*?\)(?: const)? (?=[A-Z])", "", text)
    return text if len(text) <= 300 else text[:297] + "..."
