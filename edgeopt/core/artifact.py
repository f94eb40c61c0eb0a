"""An artifact: the file built from a candidate, and how to run it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgeopt.core.interface import Interface

Runtime = Literal["onnxruntime", "litert"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a runtime can load, with its session options.

    Attributes:
        candidate_key: `Candidate.key` of what it was built from.
        path: Absolute path on the host.
        sha256: Of the file's bytes; boards store it under this name.
        size_bytes: Of the file.
        runtime: Which runtime loads it.
        session_options: Names and values that the runtime adapter understands
            (onnxruntime: `threads` int, `graph_optimization_level` str, `allow_spinning` bool;
            litert: `threads` int, `xnnpack` bool).
        opset: Of the default ONNX domain; None for other formats.
        ir_version: Of the ONNX file; None for other formats.
        interface: How its inputs differ from the original's: `runtimes.feeding.fed` feeds it.
    """

    candidate_key: str
    path: Path
    sha256: str
    size_bytes: int
    runtime: Runtime = "onnxruntime"
    session_options: dict[str, object] = field(default_factory=dict)
    opset: int | None = None
    ir_version: int | None = None
    interface: Interface = ()

    @property
    def setup(self) -> tuple[str, str]:
        """What is run: candidates that decide otherwise may come to the same."""
        return self.sha256, repr(sorted(self.session_options.items()))


def computing(artifact: Artifact) -> dict[str, object]:
    """The session options that change rounding: where outputs are compared, they are set as on the board."""
    if artifact.runtime == "litert":
        return {"xnnpack": artifact.session_options.get("xnnpack", True)}
    return {"graph_optimization_level": artifact.session_options.get("graph_optimization_level", "all")}
