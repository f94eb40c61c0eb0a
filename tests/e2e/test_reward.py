"""The reward is what the board says: a board that dislikes an option makes the agent leave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
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
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.optimize import optimize
from edgeopt.options import BoardOptions, Budget, DataOptions, OptimizeOptions
from edgeopt.runtimes import onnxruntime
from tests.e2e import made
from tests.e2e.contract import check_result
from tests.e2e.made import value, weight
from tests.e2e.program import TINY_DEVICE

Feeds = Mapping[str, np.ndarray]
OPTION = "int8_dynamic"
WIDTHS = (32, 48, 64, 40, 56, 4)
EXPECTED_MS = 0.4

Searched = tuple[dict[str, Any], float]
"""The answer, and how much of the proposals was the option."""


class OpinionatedBoard:
    """Prices a file by its matrix products; its profiles always speak well of the integer ones."""

    name, device, provenance, is_this_machine = "opinionated", "tiny", "measured", True
    pairwise_error = 0.0

    def __init__(self, integer_ms: float) -> None:
        runtimes = {onnxruntime.NAME: onnxruntime.version()}
        self.facts = BoardFacts("x86_64", 1, runtimes=runtimes)
        self._integer_ms = integer_ms

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        pass

    def measure(self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: Protocol) -> list[Measurement]:
        prices_ms = [sum(times(artifact, self._integer_ms).values()) for artifact in artifacts]
        return [
            Measurement(
                latency=Quantity(ms, "ms", ms, ms, "measured", "clock"),
                latencies_ms=(ms,) * 8,
                process_p50_ms=tuple(ms * (1 + 1e-3 * turn) for turn in range(protocol.processes)),
                control_ratio=ms / prices_ms[0],
                protocol=protocol.name,
            )
            for ms in prices_ms
        ]

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        return times(artifact, EXPECTED_MS)

    def infer(self, artifact: Artifact, samples: Iterable[Feeds]) -> Iterator[list[np.ndarray]]:
        session = onnxruntime.Session(artifact.path, {"threads": 1})
        return (session.run(feeds) for feeds in samples)

    def close(self) -> None:
        pass

    def __enter__(self) -> OpinionatedBoard:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def times(artifact: Artifact, integer_ms: float) -> dict[str, float]:
    products = dict.fromkeys(("MatMul", "Gemm", "Conv", "MatMulNBits"), 1.0)
    prices = {**products, "DynamicQuantizeMatMul": integer_ms}
    nodes = onnx.load(artifact.path).graph.node
    return {
        node.name or f"{node.op_type}_{index}": prices.get(node.op_type, 0.001)
        for index, node in enumerate(nodes)
    }


class Proposals(Observer):
    """Notes how much of each proposal is the option."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def trial(self, trial: Trial) -> None:
        if trial.kind == "candidate":
            options = list(trial.candidate.of_family("precision").values())
            self.shares.append(options.count(OPTION) / len(options))


@pytest.fixture
def deep(work: Path) -> Path:
    sizes = (32, *WIDTHS)
    nodes, weights = [], []
    for index, (before, after) in enumerate(pairwise(sizes)):
        source = f"t{index}" if index else "x"
        last = index == len(WIDTHS) - 1
        nodes.append(onnx.helper.make_node("MatMul", [source, f"w{index}"], ["y" if last else f"m{index}"]))
        if not last:
            nodes.append(onnx.helper.make_node("Tanh", [f"m{index}"], [f"t{index + 1}"]))
        weights.append(weight(f"w{index}", before, after))
    return made.save(work / "deep.onnx", nodes, [value("x", [1, 32])], [value("y", [1, 4])], weights)


def searched(work: Path, model: Path, board: OpinionatedBoard, patch: pytest.MonkeyPatch) -> Searched:
    patch.setattr(connect, "connect", lambda *_, **__: connect.Connected(board, "board opinionated"))
    options = OptimizeOptions(
        model=model,
        output=work / f"out-{len(list(work.glob('out-*')))}",
        board=BoardOptions(str(work / "tiny.toml")),
        data=DataOptions(search=str(work / "data.npz"), metric="cosine", base=work),
        objective=Objective(max_drop=MaxDrop(0.9, relative=False)),
        budget=Budget(trials=5),
    )
    proposals = Proposals()
    document = optimize(options, proposals).document
    check_result(document)
    return document, float(np.mean(proposals.shares))


def test_the_agent_goes_where_the_board_is_fast(
    work: Path, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "tiny.toml").write_text(TINY_DEVICE)
    made.samples(work / "data.npz", n=60)
    liked, share_liked = searched(work, deep, OpinionatedBoard(EXPECTED_MS), monkeypatch)
    disliked, share_disliked = searched(work, deep, OpinionatedBoard(3.0), monkeypatch)
    assert share_liked > 0.5
    assert share_disliked < share_liked / 4
    assert OPTION in liked["best"]["decisions"].values()
    assert OPTION not in disliked["best"]["decisions"].values()
    assert [trial["name"] for trial in liked["references"]] == [
        trial["name"] for trial in disliked["references"]
    ]
