"""The runner's own file: what a board's Python must understand, its markers, and copies of its processes."""

from __future__ import annotations

import ast
import ctypes
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.boards.runners import SCRIPT, eventually, runner_module, state
from tests.sshd import descendants


def test_markers_are_hints_and_returns_in_memory_that_cannot_be_written() -> None:
    runner = runner_module()
    assert list(runner.markers()) == ["start", "again", "stop"]
    assert runner.markers() is runner.markers()
    (page,) = runner.PAGES
    words = struct.unpack("<6I", page[:24])
    assert words[1::2] == (0xD65F03C0,) * 3  # ret
    for word in words[::2]:
        assert word & 0xFFFFF01F == 0xD503201F  # HINT: what a core does not know of them does nothing
        assert (word >> 5) & 0x7F >= 0x70  # not one that means something
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    maps = Path("/proc/self/maps").read_text().splitlines()
    ranges = [(line, *(int(part, 16) for part in line.split()[0].split("-"))) for line in maps]
    assert [line.split()[1] for line, begin, end in ranges if begin <= address < end] == ["r-xp"]


def test_copies_of_a_process_come_and_go(supervisor: ModuleType) -> None:
    original = supervisor.Child(supervisor.Orders(supervisor.Lease()), 60.0, repeatable=True)
    original.ask("bare", runtime="onnxruntime")
    for _ in range(2):
        original.fork(60.0)
        assert original.ask("bare", runtime="onnxruntime")["onnxruntime"].startswith("1.")
        assert len(descendants(original.process.pid)) == 1
        original.rejoin()
        assert not descendants(original.process.pid)
    assert not original.errors.closed
    original.fork(60.0)
    original.ask("bare", runtime="onnxruntime")
    (copy,) = descendants(original.process.pid)
    original.end()
    eventually(lambda: state(copy) in (None, "Z"))


def test_a_copy_that_dies_is_the_models_failure(supervisor: ModuleType) -> None:
    original = supervisor.Child(supervisor.Orders(supervisor.Lease()), 60.0, repeatable=True)
    original.ask("bare", runtime="onnxruntime")
    original.fork(60.0)
    original.ask("bare", runtime="onnxruntime")
    (copy,) = descendants(original.process.pid)
    os.kill(copy, signal.SIGSEGV)
    with pytest.raises(supervisor.Failed, match="died of SIGSEGV") as failure:
        original.ask("bare", runtime="onnxruntime")
    assert failure.value.kind == "crash"
    assert original.errors.closed
    original.rejoin()  # does no harm


def test_the_runner_is_python_3_9() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 9))


def test_the_runner_ends_with_its_orders() -> None:
    runner = subprocess.Popen([sys.executable, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = runner.communicate(
        b'{"version": 9, "id": 1, "op": "stat"}\n{"version": 1, "id": 2, "op": "stat"}\n'
    )
    assert runner.returncode == 0
    assert b"speaks version 1" in out.splitlines()[0]
    assert b"missing 1 required" in out.splitlines()[1]
