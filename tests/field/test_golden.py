from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeopt.core.errors import ModelError, PackageError
from edgeopt.field import npz
from edgeopt.field.golden import golden, tolerance
from tests.field import made


def test_arrays_come_back_and_depend_on_nothing_else(tmp_path: Path) -> None:
    arrays = {
        "b/c:0": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "a": np.array(True),
        "z": np.zeros((0, 2), "i8"),
    }  # fmt: skip
    (tmp_path / "a.npz").write_bytes(npz.to_bytes(arrays))
    read = npz.read(tmp_path / "a.npz")
    assert list(read) == ["a", "b/c:0", "z"]
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    turned = dict(reversed(arrays.items())) | {"b/c:0": np.asfortranarray(arrays["b/c:0"])}
    assert npz.to_bytes(turned) == npz.to_bytes(arrays)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(PackageError, match="not an archive of arrays"):
        npz.read(tmp_path / "a.npz")


def test_outputs_are_those_of_the_runtime(tmp_path: Path) -> None:
    import onnxruntime

    model = made.study(tmp_path / "out") / "best.onnx"
    samples = npz.read(tmp_path / "out" / "golden.npz")
    found = golden(model, "onnxruntime", {"threads": 1}, samples)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    expected = [session.run(None, {"x": x})[0] for x in samples["x"]]
    assert found.results["y"].shape == (3, 1, 4)
    np.testing.assert_allclose(found.results["y"], np.stack(expected), rtol=1e-5)
    assert [spec.name for spec in found.inputs] == ["x"]
    largest = np.abs(found.results["y"]).max()
    assert found.tolerance.atol["y"] == pytest.approx(1e-3 * largest, rel=0.01)  # float kernels agree


def test_a_model_that_takes_something_else(tmp_path: Path) -> None:
    model = made.study(tmp_path / "out") / "best.onnx"
    with pytest.raises(ModelError, match="no golden inputs for 'x'"):
        golden(model, "onnxruntime", {}, {"z": np.zeros((1, 1, 32), np.float32)})
    with pytest.raises(ModelError, match="cannot run the model"):
        golden(model, "onnxruntime", {}, {"x": np.zeros((1, 1, 31), np.float32)})
    model.write_bytes(b"no model")
    with pytest.raises(ModelError, match="refuses"):
        golden(model, "onnxruntime", {}, {"x": np.zeros((1, 1, 32), np.float32)})


def test_kernels_that_differ_are_allowed_to_elsewhere_too() -> None:
    here = np.array([[[1.0, 0.0, 0.0]], [[0.5, 0.48, 0.0]]], np.float32)
    found = tolerance(["y"], [here], [here + 0.02])
    assert found.atol["y"] == pytest.approx(0.08)
    assert found.argmax_agreement == 0.5  # the second sample's classes are closer than kernels are


def test_a_step_of_int8_is_allowed_where_kernels_differ_at_all() -> None:
    here = np.array([[10.0, 0.0]], np.float32)
    assert tolerance(["y"], [here], [here + 0.0015]).atol["y"] == pytest.approx(0.1)
    assert tolerance(["y"], [here], [here + 0.0005]).atol["y"] == pytest.approx(0.01)


def test_classes_as_numbers_agree_or_are_not_compared() -> None:
    here = np.array([[3], [4]])
    assert tolerance(["class"], [here], [here]).atol["class"] == 0.0
    assert tolerance(["class"], [here], [here + 1]).atol["class"] is None
    assert tolerance(["class"], [here], [here]).argmax_agreement is None


def test_infinities_do_not_widen_the_tolerance() -> None:
    here = np.array([[1.0, -np.inf]], np.float32)
    assert tolerance(["y"], [here], [here]).atol["y"] == pytest.approx(1e-3)
    zeros = np.zeros((2, 2), np.float32)
    assert json.loads(json.dumps(tolerance(["y"], [zeros], [zeros]).atol))["y"] > 0
