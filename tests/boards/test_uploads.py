"""Of a model whose variants are on the board, only what is new in it is uploaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.boards.address import Address
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core import plugins
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.pieces import LEAST_BYTES
from tests.sshd import Sshd

SCREEN = Protocol(
    "screen", processes=1, min_runs=8, window_s=0.1, slice_s=0.05, stop_ratio=None, deadline_s=60
)
SIZE = 256
FEEDS = {"x": np.ones((1, SIZE), np.float32)}
WEIGHTS = np.random.default_rng(0).random((3, SIZE, SIZE), dtype=np.float32)


def artifact(folder: Path, *weights: np.ndarray) -> Artifact:
    """A chain of matrix products."""
    names = ["x", *(f"h{index}" for index in range(len(weights) - 1)), "y"]
    nodes = [
        helper.make_node("MatMul", [names[index], f"w{index}"], [names[index + 1]])
        for index in range(len(weights))
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIZE]) for name in "xy")
    initializers = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    onnx.save(proto, path)
    return Artifact(path.name, path, file_digest(path), path.stat().st_size)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that are uploaded."""
    sizes: list[int] = []
    put = ssh.SshTransport.put

    def noted(self: ssh.SshTransport, source: Path, sha256: str) -> None:
        sizes.append(source.stat().st_size)
        put(self, source, sha256)

    monkeypatch.setattr(ssh.SshTransport, "put", noted)
    return sizes


@pytest.fixture
def board(sshd: Sshd) -> RunnerBoard:
    address = Address.parse(sshd.url)
    transport = plugins.load("transports", address.scheme)
    with RunnerBoard(sshd.url, "local", lambda: transport.connect(address)) as opened:
        yield opened


def measured(board: RunnerBoard, *artifacts: Artifact) -> list[Measurement]:
    results = board.measure(list(artifacts), FEEDS, SCREEN)
    assert all(isinstance(result, Measurement) for result in results), results
    return results  # type: ignore[return-value]


def test_only_the_changed_weight_of_a_variant_is_sent(
    board: RunnerBoard, sent: list[int], tmp_path: Path
) -> None:
    original = artifact(tmp_path, *WEIGHTS)
    variant = artifact(tmp_path, WEIGHTS[0], WEIGHTS[1] + 1, WEIGHTS[2])
    measured(board, original)
    assert sum(sent) > original.size_bytes
    sent.clear()
    measured(board, original, variant)
    assert len(sent) == 1
    assert WEIGHTS[1].nbytes < sent[0] < WEIGHTS[1].nbytes + LEAST_BYTES


def test_what_the_board_had_from_before_is_used(
    board: RunnerBoard, sent: list[int], sshd: Sshd, tmp_path: Path
) -> None:
    original = artifact(tmp_path, *WEIGHTS)
    measured(board, original)
    board.close()
    sent.clear()
    address = Address.parse(sshd.url)
    with RunnerBoard(sshd.url, "local", lambda: ssh.connect(address)) as later:
        measured(later, original, artifact(tmp_path, *WEIGHTS[:2], WEIGHTS[2] * 2))
    assert sum(sent) < WEIGHTS[0].nbytes + 3 * LEAST_BYTES


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_variant_is_sent_whole_where_what_it_shares_is_not_there_any_more(
    board: RunnerBoard, sent: list[int], sshd: Sshd, tmp_path: Path, damage: str
) -> None:
    original, other = artifact(tmp_path, *WEIGHTS), artifact(tmp_path, *WEIGHTS[:2], WEIGHTS[2] * 2)
    measured(board, original)
    stored = sshd.objects / original.sha256
    if damage == "gone":
        stored.unlink()
    else:
        content = bytearray(stored.read_bytes())
        content[len(content) // 2] ^= 1
        stored.write_bytes(content)
    sent.clear()
    measured(board, other)
    assert sent[-1] == other.size_bytes
    assert {path.name for path in stored.parent.iterdir()} >= {other.sha256}


def test_what_came_to_be_put_together_is_not_kept(
    board: RunnerBoard, sent: list[int], sshd: Sshd, tmp_path: Path
) -> None:
    models = [artifact(tmp_path, *WEIGHTS), artifact(tmp_path, *WEIGHTS[:2], WEIGHTS[2] * 2)]
    for model in models:
        measured(board, model)
    kept = {path.name for path in sshd.objects.iterdir()}
    assert {model.sha256 for model in models} < kept
    assert len(kept) == len(models) + 1  # and the inputs
    assert all(file_digest(path) == path.name for path in sshd.objects.iterdir())
