"""A board that counts: emulated figures, from a model's file alone, for studies of a moment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeopt.boards import connect
from edgeopt.boards.board import BoardFacts
from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.objective import MaxDrop, Objective
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Provenance, Quantity
from edgeopt.optimize import optimize
from edgeopt.options import BoardOptions, Budget, DataOptions, OptimizeOptions
from edgeopt.runtimes import onnxruntime
from tests.e2e import made
from tests.e2e.program import TINY_DEVICE

Feeds = Mapping[str, np.ndarray]
MODEL_ERROR = 0.2


class Emulated:
    """Prices a file by its matrix products, on a machine like this one.

    Attributes:
        counted: Digests of what was measured, in order.
    """

    name, device, is_this_machine = "virtual:tiny", "tiny", False
    provenance: Provenance = "emulated"
    pairwise_error = 0.1
    energy_source = "model"

    def __init__(self, integer_ms: float = 0.4) -> None:
        runtimes = {onnxruntime.NAME: onnxruntime.version()}
        self.facts = BoardFacts(os.uname().machine, os.cpu_count() or 1, runtimes=runtimes)
        self.counted: list[list[str]] = []
        self._integer_ms = integer_ms

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        """Every file is priced the same way."""

    def measure(self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: Protocol) -> list[Measurement]:
        self.counted.append([artifact.sha256 for artifact in artifacts])
        return [self._measurement(artifact, protocol) for artifact in artifacts]

    def _measurement(self, artifact: Artifact, protocol: Protocol) -> Measurement:
        threads = int(str(artifact.session_options.get("threads", 1))) or self.facts.cores
        ms = sum(self._times(artifact).values()) * (1 + 0.001 * threads)
        interval = (ms * (1 - MODEL_ERROR), ms * (1 + MODEL_ERROR))
        return Measurement(
            latency=Quantity(ms, "ms", *interval, self.provenance, "cycles"),
            peak_rss_bytes=50_000_000 + artifact.size_bytes,
            energy_mj=Quantity(3 * ms, "mJ", 2 * ms, 4 * ms, self.provenance, "model"),
            protocol=protocol.name,
        )

    def _times(self, artifact: Artifact) -> dict[str, float]:
        integer = dict.fromkeys(("DynamicQuantizeMatMul", "MatMulInteger", "QLinearMatMul"), self._integer_ms)
        prices = dict.fromkeys(("MatMul", "Gemm", "Conv", "MatMulNBits"), 1.0) | integer
        return {
            node.name or f"{node.op_type}_{index}": prices.get(node.op_type, 0.001)
            for index, node in enumerate(onnx.load(artifact.path).graph.node)
        }

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        return self._times(artifact)

    def infer(self, artifact: Artifact, samples: Iterable[Feeds]) -> Iterator[list[np.ndarray]]:
        session = onnxruntime.Session(artifact.path, {"threads": 1})
        return (session.run(feeds) for feeds in samples)

    def close(self) -> None:
        pass

    def __enter__(self) -> Emulated:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def emulate(
    work: Path, board: Emulated, patch: pytest.MonkeyPatch, observer: Observer | None = None, **more: Any
) -> dict[str, Any]:
    """One `optimize` on such a board; the study is in `work/out` unless told otherwise."""
    device, model, data = work / "tiny.toml", work / "net.onnx", work / "data.npz"
    device.write_text(TINY_DEVICE)
    model = model if model.exists() else made.classifier(model)
    data = data if data.exists() else made.samples(data)
    asked: dict[str, Any] = {
        "model": model,
        "output": work / "out",
        "board": BoardOptions(str(device)),
        "data": DataOptions(search=str(data), metric="cosine", base=work),
        "objective": Objective(max_drop=MaxDrop(0.9, relative=False)),
        "budget": Budget(trials=3),
        "sampler": "random",
    }
    with patch.context() as patched:
        patched.setattr(connect, "connect", lambda *_, **__: connect.Connected(board, "board virtual:tiny"))
        return optimize(OptimizeOptions(**asked | more), observer or Observer()).document
