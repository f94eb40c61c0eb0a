"""Models with more than 1 GB of weights, and candidates that no file can hold.

The weights are a sparse file of zeros: they take no disk, but as much memory as any.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper

from edgeopt.core.errors import ModelError
from edgeopt.graph.model import freeze, load
from edgeopt.graph.serialize import to_bytes
from tests.graph.made import save

GROWTH = 3.0
"""Of the host's memory, in sizes of the model."""

SCRIPT = """
import json, sys
from pathlib import Path
from edgeopt.graph.model import freeze, load
from edgeopt.graph.builder import Builder
from edgeopt.graph.space import search_space
from edgeopt.testing.precision import MAX_IR, MAX_OPSET

def peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

before = peak_bytes()
model = freeze(load(Path(sys.argv[1])), {})
folder = Path(sys.argv[2])
space = search_space(model, lossy=True, cores=2)
builder = Builder(model, space, None, folder, MAX_OPSET, MAX_IR)
sizes, peaks = [], []
for scheme, switch in (("", "off"), ("int8_weights", "off"), ("float16_weights", "on")):
    chosen = {p.site: scheme for p in space.points if p.family == "precision" and scheme in p.options}
    chosen |= {p.site: switch for p in space.points if p.family == "rewrite"}
    artifact = builder.build(space.candidate(chosen))
    sizes.append(artifact.size_bytes)
    peaks.append(peak_bytes() - before)
    artifact.path.unlink()
print(json.dumps({"sizes": sizes, "peaks": peaks}))
"""


def with_weights(folder: Path, rows: int, columns: int, count: int) -> Path:
    """Products of (rows, columns) matrices there and back, each a part of one sparse file."""
    length = rows * columns * 4
    weights, nodes, last = [], [], "x"
    for index in range(count):
        dims = [rows, columns] if index % 2 == 0 else [columns, rows]
        tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "w.bin", "offset": index * length, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"h{index}"]))
        nodes.append(helper.make_node("Relu", [f"h{index}"], [f"r{index}"]))
        last = f"r{index}"
    value = helper.make_tensor_value_info
    inputs, outputs = [value("x", 1, [1, rows])], [value(last, 1, [1, columns if count % 2 else rows])]
    graph = helper.make_graph(nodes, "large", inputs, outputs, weights)
    with (folder / "w.bin").open("wb") as stream:
        stream.truncate(count * length)  # sparse: no disk is used
    return save(
        folder / "model.onnx",
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
    )


def built(folder: Path, path: Path) -> dict[str, list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(folder / "built")],
        capture_output=True, text=True, check=True, timeout=900,
    )  # fmt: skip
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("rows", "count"),
    [(2048, 2), pytest.param(16384, 4, marks=[pytest.mark.long, pytest.mark.timeout(1200)])],
    ids=["64 MiB", "1 GiB"],
)
def test_the_hosts_memory_stays_near_the_models_size(tmp_path: Path, rows: int, count: int) -> None:
    size_bytes = rows * 4096 * 4 * count
    found = built(tmp_path, with_weights(tmp_path, rows, 4096, count))
    assert found["sizes"][0] == pytest.approx(size_bytes, rel=0.01)
    assert found["sizes"][1] == pytest.approx(size_bytes / 4, rel=0.15)
    print(f"peaks in sizes of the model: {[round(peak / size_bytes, 2) for peak in found['peaks']]}")
    assert max(found["peaks"]) < GROWTH * size_bytes + 300e6, found  # and the libraries


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_candidate_over_2_gib_is_refused_in_one_line(tmp_path: Path) -> None:
    """A graph that grew: two weights of one tensor that a rewrite would write out twice."""
    model = freeze(load(with_weights(tmp_path, 16384, 4096, 4)), {}).ir
    for name in list(model.graph.initializers):
        value = model.graph.initializers[name]
        twin = onnx_ir.Value(
            name=f"{name}_2", type=value.type, shape=value.shape, const_value=value.const_value
        )
        model.graph.register_initializer(twin)
    with pytest.raises(ModelError, match="one file") as caught:
        to_bytes(model)
    assert len(caught.value.message.splitlines()) == 1


def test_a_model_over_2_gib_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = with_weights(tmp_path, 16384, 16384, 3)
    assert onnx.load(path, load_external_data=False).graph.initializer
    with pytest.raises(ModelError, match=r"3.00 GiB, more than the 2.00 GiB") as caught:
        load(path)
    assert len(caught.value.message.splitlines()) == 1
