"""What fails on a virtual board: models, memory, deadlines, clients and the board itself."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.boards.virtual.running import Running
from edgeopt.core.errors import BoardError, CandidateFailed, ConnectError
from edgeopt.core.measurement import Measurement
from edgeopt.core.progress import Observer
from tests.boards.tiny import FEEDS, artifact, chain
from tests.boards.virtual.counted import SCREEN, counted, emulated, in_mid_count, squares


def hungry() -> bytes:
    """Fills a tensor of the shape that it is given."""
    nodes = [
        helper.make_node("Cast", ["x"], ["shape"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["y"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "hungry",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_bad_models_fail_alone(board: VirtualBoard, tmp_path: Path) -> None:
    good, bad = artifact(tmp_path, chain(2)), artifact(tmp_path, b"not a model")
    first, second = board.measure([bad, good], FEEDS, SCREEN)
    assert isinstance(first, CandidateFailed)
    assert first.message == "cannot be loaded on the board: Protobuf parsing failed."
    assert emulated(second).control_ratio is None
    with pytest.raises(CandidateFailed, match="cannot be loaded"):
        board.profile(bad, FEEDS, 1)


@pytest.mark.parametrize("megabytes", [930, 4000], ids=["killed by the kernel", "refused by it"])
def test_a_model_that_takes_all_memory_fails_and_the_board_goes_on(
    megabytes: int, board: VirtualBoard, tmp_path: Path
) -> None:
    greedy, feeds = artifact(tmp_path, hungry()), {"x": np.array([megabytes, 1 << 18], np.float32)}
    (result,) = board.measure([greedy], feeds, SCREEN)
    assert isinstance(result, CandidateFailed)
    assert "ran out of memory on the board" in result.message
    emulated(board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)[0])


def test_a_model_that_passes_its_deadline_fails_and_the_board_goes_on(
    board: VirtualBoard, tmp_path: Path
) -> None:
    endless = artifact(tmp_path, squares(512, 200))
    (result,) = board.measure(
        [endless], {"x": np.eye(512, dtype=np.float32)}, replace(SCREEN, min_runs=1000, deadline_s=5.0)
    )
    assert isinstance(result, CandidateFailed)
    assert result.message == "took too long on the board and was killed"
    emulated(board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)[0])


def test_a_model_that_crashes_in_mid_count_fails_and_leaves_no_count(
    board: VirtualBoard, virtual_board: Running, tmp_path: Path
) -> None:
    model, good = artifact(tmp_path, squares(256, 12)), artifact(tmp_path, chain(2))
    before = counted(board, good)[0]
    board.forget()
    with contextlib.closing(ssh.connect(Address.parse(virtual_board.root_url))) as root:
        crash = "pkill -SEGV -n -f -- '--chil[d]'"  # the copy, not what it is a copy of
        with in_mid_count(virtual_board.counts, lambda: root.run(crash)):
            (result,) = board.measure([model], {"x": np.eye(256, dtype=np.float32)}, SCREEN)
    assert isinstance(result, CandidateFailed)
    assert result.message == "crashed on the board: died of SIGSEGV"
    assert list(virtual_board.counts.iterdir()) == []
    # What is promised of two counts; a page that had to come back costs a few dozen instructions.
    assert counted(board, good)[0] == pytest.approx(before, rel=1e-3)


def test_who_waits_for_another_clients_count_is_told_and_goes_on(
    virtual_board: Running, tmp_path: Path
) -> None:
    heard: list[str] = []
    told = threading.Event()

    class Hearing(Observer):
        def announce(self, line: str) -> None:
            heard.append(line)
            told.set()

    profile = profiles.load("rpi4")
    pricing = CycleModel.of(profile, tmp_path / "prices.sqlite")
    results: list[Measurement | CandidateFailed] = []
    with VirtualBoard(virtual_board, profile, pricing, observer=Hearing()) as board:
        client = threading.Thread(
            target=lambda: results.extend(board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN))
        )
        with virtual_board.lock():
            client.start()
            assert told.wait(60)
        client.join(120)
    assert heard == ["waiting for virtual:rpi4: another command is counting on it"]
    emulated(results[0])


def test_a_model_larger_than_the_boards_memory_is_refused_in_numbers(
    board: VirtualBoard, tmp_path: Path
) -> None:
    good = artifact(tmp_path, chain(2))
    refused, ran = board.measure([replace(good, size_bytes=3_000_000_000), good], FEEDS, SCREEN)
    assert isinstance(refused, CandidateFailed)
    assert refused.message.startswith("its file is 3000 MB, and the board has 10")
    emulated(ran)


def test_a_board_that_dies_in_mid_count_fails_nobody_and_comes_back(images: Path, tmp_path: Path) -> None:
    model, feeds = artifact(tmp_path, squares(256, 12)), {"x": np.eye(256, dtype=np.float32)}
    with VirtualBoard.open(profiles.load("rpi4")) as board:
        running = board._machine
        assert isinstance(running, Running)
        with (
            in_mid_count(running.counts, lambda: os.kill(running.pid, signal.SIGKILL)),
            pytest.raises((ConnectError, BoardError)) as failure,
        ):
            board.measure([model], feeds, SCREEN)
        assert not isinstance(failure.value, CandidateFailed)
        assert "\n" not in failure.value.message
        assert failure.value.message == "virtual:rpi4 is gone: its emulator has ended or was killed"
        assert failure.value.hint == "repeat the command"
        (result,) = board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)
        emulated(result)
        (another,) = [board._machine]
        assert isinstance(another, Running)
        assert another.pid != running.pid
    assert not another.alive
    assert not machine.running()
