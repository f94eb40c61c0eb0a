"""The noise of each scheme in each region, from one pass, apart from each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeopt.graph.calibration import collect
from edgeopt.graph.model import Model, freeze, load
from edgeopt.graph.sensitivity import noise
from edgeopt.graph.space import search_space
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import Bench, RandomSamples, example

STATIC, DYNAMIC = "int8_static_channel", "int8_dynamic"
SIZE = 32
MASK = np.where(np.arange(SIZE) < SIZE // 2, 0.0, -1e4).astype(np.float32)


def saved(
    path: Path, last: float = 1.0, mask: NDArray[np.float32] = MASK, activation: str = "Softmax"
) -> Model:
    """Products, a mask and an activation; the last product's weights are multiplied by `last`."""
    rng = np.random.default_rng(0)
    weights = {f"w{index}": rng.normal(0, 0.2, (SIZE, SIZE)).astype(np.float32) for index in range(3)}
    weights["w2"] *= np.float32(last)
    if activation != "Softmax":
        weights["w2"][SIZE // 2 :] = 0  # what is masked has no part in the result
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w1"], ["c"], name="second"),
        helper.make_node("Add", ["c", "x"], ["d"], name="join"),
        helper.make_node("Add", ["d", "mask"], ["e"], name="masked"),
        helper.make_node(activation, ["e"], ["f"], name="activation"),
        helper.make_node("MatMul", ["f", "w2"], ["y"], name="last"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, SIZE]) for name in "xy")
    constants = [numpy_helper.from_array(array, name) for name, array in (weights | {"mask": mask}).items()]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(proto, path)
    return freeze(load(path), {})


class Counted:
    """Loads models, and remembers how many."""

    count = 0

    def __call__(self, model: bytes, options: object) -> Session:
        self.count += 1
        return Session(model)


def noises(model: Model, folder: Path, session: object = Session) -> dict[str, dict[str, float]]:
    samples = RandomSamples(model)
    space = search_space(model, lossy=True, cores=2)
    found = noise(model, space, collect(model, samples), samples, folder=folder, session=session)  # type: ignore[arg-type]
    return {scheme: dict(regions) for scheme, regions in found.items()}


def test_a_mask_that_stretches_a_range_is_found(tmp_path: Path) -> None:
    found = noises(saved(tmp_path / "m.onnx", activation="Neg"), tmp_path)[STATIC]
    (masked,) = (region for region, share in found.items() if share > 0.05)
    assert masked == "last"  # it reads what was masked
    assert all(share < 0.01 for region, share in found.items() if region != masked)


def test_a_mask_before_a_softmax_is_not_quantized(tmp_path: Path) -> None:
    found = noises(saved(tmp_path / "m.onnx"), tmp_path)[STATIC]
    assert found
    assert all(share < 0.01 for share in found.values())


def test_without_the_mask_no_region_is_noisy(tmp_path: Path) -> None:
    found = noises(saved(tmp_path / "m.onnx", mask=MASK * 0), tmp_path)[STATIC]
    assert found
    assert all(share < 0.01 for share in found.values())


def test_the_noise_of_a_last_region_is_what_its_candidate_shows(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.onnx", mask=MASK * 0)
    bench = Bench.of(model, tmp_path)
    last = model.ir.graph.outputs[0].producer()
    assert last is not None
    (region,) = (region.name for region in bench.space.regions if last.name in region.nodes)
    artifact = bench.builder.build(bench.space.candidate({f"precision@{region}": STATIC}))
    exact, changed = Session(model.path), Session(artifact.path)
    pairs = [(exact.run(feeds)[0], changed.run(feeds)[0]) for feeds in RandomSamples(model).samples()]
    error = sum(float(((q - x) ** 2).sum()) for x, q in pairs)
    signal = sum(float(((x - x.mean()) ** 2).sum()) for x, _ in pairs)
    assert noises(model, tmp_path)[STATIC][region] == pytest.approx(error / signal, rel=0.05)


def test_what_did_not_change_is_not_computed_again(tmp_path: Path) -> None:
    before = noises(saved(tmp_path / "m.onnx"), tmp_path)
    same, changed = Counted(), Counted()
    assert noises(saved(tmp_path / "again.onnx"), tmp_path, same) == before
    assert same.count == 1  # the unchanged model tells what regions read
    after = noises(saved(tmp_path / "other.onnx", last=3.0), tmp_path, changed)
    assert changed.count > 1
    assert {r for r in after[DYNAMIC] if after[DYNAMIC][r] != before[DYNAMIC][r]} <= {"last"}


def test_a_cheap_node_at_a_regions_end_is_int8_if_int8_nodes_follow(tmp_path: Path) -> None:
    """Add computes in int8 between int8 nodes only; where the last Conv is missing, it is float32."""
    texts = {"alone": "y = Add(c, x)", "followed": "s = Add(c, x) y = Conv(s, v)"}
    found = {}
    for kind, tail in texts.items():
        text = f"""<ir_version: 8, opset_import: ["": 13]>
        residual (float[1, 16, 8, 8] x0) => (float[1, 16, 8, 8] y)
        <float[16, 16, 1, 1] u, float[16, 16, 1, 1] w, float[16, 16, 1, 1] v> {{
            x = Conv(x0, u)
            c = Conv(x, w)
            {tail}
        }}"""
        folder = tmp_path / kind
        folder.mkdir()
        model = example(text, folder)
        added = next(node.name for node in model.ir.graph if node.op_type == "Add")
        space = search_space(model, lossy=True, cores=1)
        region = next(region.name for region in space.regions if added in region.nodes)
        found[kind] = noises(model, folder)[STATIC].get(region, 0.0)
    assert found["followed"] > 1.2 * found["alone"]


def test_seven_bits_are_noisier_and_kept_apart(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.onnx", mask=MASK * 0)
    samples = RandomSamples(model)
    space = search_space(model, lossy=True, cores=2)
    ranges = collect(model, samples)
    eight, seven, again = (
        noise(model, space, ranges, samples, folder=tmp_path, seven_bits=bits)[STATIC]
        for bits in (False, True, False)
    )
    assert all(seven[region] > eight[region] for region in eight)
    assert again == eight


def test_damaged_figures_are_computed_again(tmp_path: Path) -> None:
    before = noises(saved(tmp_path / "m.onnx"), tmp_path)
    (tmp_path / "noise.json").write_text('{"a": [')
    assert noises(saved(tmp_path / "m.onnx"), tmp_path) == before
