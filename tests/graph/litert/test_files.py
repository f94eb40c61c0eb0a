"""What a LiteRT file takes and gives is read without the runtime, and nothing in a file can break that."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.litert import files
from edgeopt.runtimes.litert import Session

FILES = Path(__file__).parents[2] / "fixtures" / "litert"
CONV = (FILES / "conv.tflite").read_bytes()


def test_it_reads_what_the_runtime_says() -> None:
    model, session = files.load(FILES / "conv.tflite"), Session(CONV)
    assert model.inputs == session.inputs == (TensorSpec("img", "float32", (1, 8, 8, 3)),)
    assert model.outputs == session.outputs
    assert len(model.digest) == 64


def test_a_file_that_the_runtime_refuses_can_still_be_read() -> None:
    assert files.load(FILES / "custom.tflite").inputs == (TensorSpec("x", "float32", (4, 4)),)


def test_what_is_not_there_or_not_litert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such model file"):
        files.load(tmp_path / "missing.tflite")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        files.load(tmp_path)
    (tmp_path / "m.tflite").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ModelError, match="is not a LiteRT file"):
        files.load(tmp_path / "m.tflite")


@given(st.integers(8, len(CONV) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_read_or_refused(at: int, junk: bytes) -> None:
    for content in (CONV[:at], CONV[:at] + junk + CONV[at + len(junk) :]):
        try:
            inputs, outputs = files.interface(content, "m")
        except ModelError as error:
            assert error.message.startswith("m ")  # noqa: PT017
        else:
            assert len(inputs) + len(outputs) < len(CONV)
