"""What opens a new epoch: whatever changes how fast a model runs."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from edgeopt.boards.board import EPOCH, BoardFacts
from edgeopt.boards.facts import probed
from tests.boards.recorded import found

PI = probed(found("rpi4b-4gb"), "3.11.2", {"onnxruntime": "1.28.0"})


@pytest.mark.parametrize(
    ("probe", "printed", "said"),
    [
        ("kernel", "6.12.25+rpt-rpi-v8\n", "kernel was 6.6.51+rpt-rpi-v8, is 6.12.25+rpt-rpi-v8"),
        ("kernel_build", "#2 SMP PREEMPT Debian\n", "kernel build was #1 SMP PREEMPT Debian 1:6.6.51"),
        ("firmware", "version 0123abcd (release)\n", "firmware was 2808975b80149bbfe86844655fe45c7de66fc078"),
        ("governor", "performance\n" * 4, "governor was ondemand, is performance"),
        ("governor", "ondemand\nperformance\n" * 2, "governor was ondemand, is ondemand, performance"),
        ("clock_limits_khz", "2000000\n" * 4, "clock limits khz was 1800000, is 2000000"),
        ("ram_bytes", "MemTotal: 1885396 kB\n", "ram bytes was"),
    ],
)
def test_a_change_of_the_board_opens_an_epoch_and_is_named(probe: str, printed: str, said: str) -> None:
    now = replace(probed(found("rpi4b-4gb", **{probe: printed})), runtimes=PI.runtimes)
    assert now.epoch != PI.epoch
    (change,) = PI.changes(now)
    assert change.startswith(said)


def test_a_new_runtime_opens_an_epoch() -> None:
    now = replace(PI, runtimes={"onnxruntime": "1.27.0"})
    assert now.epoch != PI.epoch
    assert PI.changes(now) == ["runtimes was {'onnxruntime': '1.28.0'}, is {'onnxruntime': '1.27.0'}"]


def test_what_does_not_change_speed_opens_none() -> None:
    later = replace(PI, os="Debian GNU/Linux 13 (trixie)", python="3.11.3", compatible=())
    assert later.epoch == PI.epoch
    assert set(EPOCH) < {field.name for field in fields(BoardFacts)}
