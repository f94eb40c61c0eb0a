"""The table of wheels, and what it tells the owner of a board."""

from __future__ import annotations

import pytest

from edgeopt.runtimes import litert, onnxruntime, wheels

PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13"]


def test_the_table_is_whole_and_no_version_is_one_that_edgeopt_refuses() -> None:
    assert set(wheels.table()) == {"aarch64", "armv7l"}
    for machine in wheels.table().values():
        assert list(machine) == PYTHONS
        for packages in machine.values():
            assert set(packages) <= {"onnxruntime", "ai-edge-litert", "tflite-runtime"}
            if version := packages.get("onnxruntime"):
                assert onnxruntime.supported(version)
            if version := packages.get("ai-edge-litert"):
                assert litert.supported(version)


def test_python_3_9_gets_an_older_onnxruntime_and_32_bits_none() -> None:
    assert wheels.table()["aarch64"]["3.9"]["onnxruntime"] == "1.19.2"
    for python in PYTHONS:
        assert set(wheels.table()["armv7l"][python]) <= {"tflite-runtime"}
    assert wheels.table()["armv7l"]["3.11"] == {"tflite-runtime": "2.14.0"}
    assert wheels.table()["armv7l"]["3.12"] == {}


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_32_bit_board_is_told_of_the_64_bit_image_in_one_line(runtime: str) -> None:
    said = wheels.missing(runtime, "armv7l", "3.11.2")
    assert said is not None
    assert said.endswith("for armv7l: install the 64-bit image of its system")
    assert wheels.missing(runtime, "aarch64", "3.11.2") is None
    assert wheels.missing(runtime, "riscv64", "3.11.2") is None
    assert wheels.missing(runtime, "armv7l", "3.99") is None  # newer than the table


def test_a_python_without_a_wheel_is_told_of_those_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"aarch64": {"3.9": {}, "3.10": {"onnxruntime": "1.22"}, "3.11": {"onnxruntime": "1.28"}}}
    monkeypatch.setattr(wheels, "table", lambda: known)
    assert wheels.missing("onnxruntime", "aarch64", "3.9.2") == (
        "there is no onnxruntime for Python 3.9 on aarch64: it needs 3.10 or 3.11"
    )
