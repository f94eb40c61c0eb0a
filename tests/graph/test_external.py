"""External data: only regular files in the model's folder, and only as much as the limits allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeopt.core.digest import file_digest
from edgeopt.core.errors import ModelError
from edgeopt.graph.limits import Limits
from edgeopt.graph.model import load, to_bytes
from tests.graph.made import outputs, save, with_external

ROWS = 64
LIMITS = Limits()
DATA = np.arange(ROWS, dtype=np.float32).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def refused(path: Path, limits: Limits = LIMITS) -> str:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ModelError) as caught:
        load(path, limits)
    assert sorted(path.parent.rglob("*")) == before
    return caught.value.message


def test_valid_external_data_is_read_into_the_model(folder: Path) -> None:
    path = with_external(folder, "weights.bin", data=DATA)
    content = to_bytes(load(path).ir)
    (folder / "weights.bin").unlink()  # nothing depends on it any more
    (y,) = outputs(content, x=np.ones(ROWS, np.float32))
    assert y.tolist() == (np.arange(ROWS) + 1).tolist()


def test_a_sub_folder_of_the_model_is_fine(folder: Path) -> None:
    (folder / "data").mkdir()
    assert load(with_external(folder, "data/weights.bin", data=DATA)).inputs[0].name == "x"


def test_the_digest_covers_the_external_data(folder: Path) -> None:
    path = with_external(folder, "weights.bin", data=DATA)
    first = load(path).digest
    (folder / "weights.bin").write_bytes(DATA[::-1])
    assert load(path).digest != first


def test_without_external_data_the_digest_is_the_files(folder: Path) -> None:
    path = save(folder / "m.onnx", "<ir_version: 8, opset_import: ['': 17]>".replace("'", '"')
                + "g (float[1] x) => (float[1] y) { y = Neg(x) }")  # fmt: skip
    assert load(path).digest == file_digest(path)


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../outside.bin", "data/../../outside.bin", "..\\outside.bin", "C:\\weights.bin", ""],
)
def test_a_location_outside_the_folder_is_refused(folder: Path, location: str) -> None:
    (folder.parent / "outside.bin").write_bytes(DATA)
    message = refused(with_external(folder, location))
    assert "outside the model's folder" in message or "no location" in message


def test_a_symbolic_link_is_refused(folder: Path) -> None:
    (folder.parent / "outside.bin").write_bytes(DATA)
    (folder / "weights.bin").symlink_to(folder.parent / "outside.bin")
    assert "symbolic link" in refused(with_external(folder, "weights.bin"))


def test_a_linked_folder_on_the_way_is_refused(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "weights.bin").write_bytes(DATA)
    (folder / "data").symlink_to(folder.parent / "elsewhere")
    assert "symbolic link" in refused(with_external(folder, "data/weights.bin"))


def test_missing_data_is_refused(folder: Path) -> None:
    assert "missing" in refused(with_external(folder, "weights.bin"))


def test_data_that_is_too_short_is_refused(folder: Path) -> None:
    assert "too short" in refused(with_external(folder, "weights.bin", data=DATA[:-1]))


def test_data_over_the_limit_is_refused_before_it_is_read(folder: Path) -> None:
    rows = 2**29 + 1  # of 4 bytes: over 2 GiB, in a sparse file
    path = with_external(folder, "weights.bin", rows=rows)
    with (folder / "weights.bin").open("wb") as stream:
        stream.truncate(rows * 4)
    assert "2.00 GiB" in refused(path)


def test_one_small_file_that_many_tensors_claim_counts_each_time(folder: Path) -> None:
    path = with_external(folder, "weights.bin", data=DATA)
    proto = onnx.load(path, load_external_data=False)
    for index in range(100):
        proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])
        proto.graph.initializer[-1].name = f"w{index}"
    save(path, proto)
    assert "more than" in refused(path, Limits(max_bytes=20_000))


@pytest.mark.parametrize(
    ("key", "value"), [("length", "8"), ("length", "many"), ("offset", "-4"), ("offset", "1e3")]
)
def test_a_wrong_offset_or_length_is_refused(folder: Path, key: str, value: str) -> None:
    path = with_external(folder, "weights.bin", data=DATA * 2)
    proto = onnx.load(path, load_external_data=False)
    entries = proto.graph.initializer[0].external_data
    kept = [(entry.key, entry.value) for entry in entries if entry.key != key]
    del entries[:]
    for name, text in [*kept, (key, value)]:
        entries.add(key=name, value=text)
    assert "bytes at" in refused(save(path, proto)) or "offset and length" in refused(path)


def test_external_data_inside_a_branch_is_checked_too(folder: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (bool b, float[64] x) => (float[64] y) {
      y = If (b) <then_branch = t () => (float[64] p)
                    { c = Constant <value = float[1] {1}> () p = Add(x, c) },
                  else_branch = e () => (float[64] q) { q = Identity(x) }>
    }"""
    proto = onnx.parser.parse_model(text)
    constant = proto.graph.node[0].attribute[0].g.node[0].attribute[0].t
    constant.CopyFrom(
        onnx.load(with_external(folder, "w.bin"), load_external_data=False).graph.initializer[0]
    )
    constant.external_data[0].value = "../../etc/passwd"
    assert "outside" in refused(save(folder / "branch.onnx", proto))
