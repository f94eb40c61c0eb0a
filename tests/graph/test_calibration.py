"""Ranges: exact, in one pass, kept on disk, and robust against what is not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.core.errors import DataError, EdgeoptError
from edgeopt.graph.calibration import Ranges, collect
from edgeopt.runtimes.onnxruntime import Session
from tests.graph import networks
from tests.graph.made import model

SQUARE = """<ir_version: 8, opset_import: ["": 13]>
square (float[1, 4] x) => (float[1, 4] y) {
    s = Mul(x, x)
    n = Neg(s)
    i = Cast <to = 7> (n)
    f = Cast <to = 1> (i)
    y = Add(n, f)
}"""


@dataclass
class Part:
    arrays: list[list[float]]
    digest: str = "part"
    passes: int = 0
    sessions: list[Session] = field(default_factory=list)

    def samples(self) -> Iterator[Mapping[str, Any]]:
        self.passes += 1
        for values in self.arrays:
            yield {"x": np.array([values], np.float32)}


def test_ranges_span_all_samples_of_all_float_tensors(tmp_path: Path) -> None:
    part = Part([[1, -2, 0, 0.5], [3, 0, -1, 0]])
    ranges = collect(model(tmp_path / "m.onnx", SQUARE), part)
    assert ranges.by_tensor == {"x": (-2, 3), "s": (0, 9), "n": (-9, 0), "f": (-9, 0), "y": (-18, 0)}
    assert (ranges.count, part.passes) == (2, 1)
    assert ranges.of("i") is None


def test_a_tensor_that_is_not_finite_even_once_has_no_range(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
    logs (float[1, 4] x) => (float[1, 4] y) { l = Log(x) e = Exp(x) y = Relu(e) }"""
    ranges = collect(model(tmp_path / "m.onnx", text), Part([[-1, 1, 2, 3], [1, 1, 2, 3]]))
    assert ranges.of("l") is None
    assert "l" in ranges.by_tensor
    infinite = collect(model(tmp_path / "m.onnx", text), Part([[0, 1, 2, 3]], digest="zero"))
    assert infinite.of("l") is None
    assert infinite.of("y") == pytest.approx((1, np.exp(3)))


def test_an_absurd_range_does_not_break_what_is_built_from_it(tmp_path: Path) -> None:
    from edgeopt.graph.builder import Builder
    from edgeopt.graph.space import search_space

    text = """<ir_version: 8, opset_import: ["": 13]>
    masked (float[1, 4] x, float[1, 4] mask) => (float[1, 2] y) <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}> {
        m = Add(x, mask)
        y = MatMul(m, w)
    }"""
    frozen = model(tmp_path / "m.onnx", text)
    feeds = {"x": np.ones((1, 4), np.float32), "mask": np.array([[0, -1e37, 0, 0]], np.float32)}

    class Masked(Part):
        def samples(self) -> Iterator[Mapping[str, Any]]:
            yield feeds

    space = search_space(frozen, lossy=True, cores=1)
    builder = Builder(frozen, space, collect(frozen, Masked([])), tmp_path / "built", 25, 12)
    sites = {p.site: "int8_static_tensor" for p in space.points if p.family == "precision"}
    assert np.isfinite(Session(builder.build(space.candidate(sites)).path).run(feeds)[0]).all()


def test_what_is_kept_on_disk_is_not_measured_again(tmp_path: Path) -> None:
    frozen, part = model(tmp_path / "m.onnx", SQUARE), Part([[1, -2, 0, 0.5]])
    first = collect(frozen, part, folder=tmp_path)
    assert collect(frozen, part, folder=tmp_path) == first
    assert part.passes == 1
    assert collect(frozen, part, folder=tmp_path).digest == first.digest
    assert collect(frozen, Part([[1, 1, 1, 1]], digest="other"), folder=tmp_path) != first


@pytest.mark.parametrize(
    "content", [b"", b'{"by_tensor": {"x": [1', b'{"by_tensor": {"x": [1]}}', b"[]", b"\xff"]
)
def test_a_damaged_file_is_measured_again(content: bytes, tmp_path: Path) -> None:
    frozen, part = model(tmp_path / "m.onnx", SQUARE), Part([[1, -2, 0, 0.5]])
    first = collect(frozen, part, folder=tmp_path)
    (kept,) = tmp_path.glob("ranges-*.json")
    kept.write_bytes(content)
    assert collect(frozen, part, folder=tmp_path) == first
    assert part.passes == 2


def test_no_samples_is_the_datas_fault(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        collect(model(tmp_path / "m.onnx", SQUARE), Part([]))


def test_a_folder_that_is_missing_is_an_error_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(EdgeoptError, match="cannot write"):
        collect(model(tmp_path / "m.onnx", SQUARE), Part([[1, 2, 3, 4]]), folder=tmp_path / "missing")


def test_every_float_tensor_of_a_network_is_watched(tmp_path: Path) -> None:
    from edgeopt.testing.precision import RandomSamples

    frozen = networks.network(tmp_path, networks.TRANSFORMER)
    ranges: Ranges = collect(frozen, RandomSamples(frozen, count=2))
    floats = {str(v.name) for node in frozen.ir.graph for v in node.outputs if v.dtype is not None}
    assert floats == set(ranges.by_tensor)
    assert ranges.of("weights") is not None
    assert 0 <= ranges.by_tensor["weights"][0] <= ranges.by_tensor["weights"][1] <= 1  # type: ignore[index]
