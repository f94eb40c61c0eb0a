"""Real conversions: the file computes what the model does, or there is a reason in one line."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CandidateFailed, EdgeoptError, ModelError
from edgeopt.graph import equivalence
from edgeopt.graph.litert import files
from edgeopt.graph.litert.environment import Environment
from edgeopt.graph.litert.export import export
from edgeopt.graph.litert.made import Made
from edgeopt.graph.litert.quantize import static_int8
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import Model, load
from edgeopt.runtimes.litert import Session
from edgeopt.runtimes.onnxruntime import Session as OnnxSession
from tests.graph import made, networks
from tests.test_no_telemetry import heard_from

HEAD = '<ir_version: 8, opset_import: ["": 17]>'

CONV = f"""{HEAD}
conv (float[1, 3, 8, 8] img, float[1, 4] bias) => (float[1, 4, 8, 8] feature, float[1, 4] y)
<float[4, 3, 3, 3] w> {{
    feature = Conv <pads = [1, 1, 1, 1]> (img, w)
    pooled = GlobalAveragePool(feature)
    flat = Flatten(pooled)
    y = Add(flat, bias)
}}"""

MAXPOOL = f"""{HEAD}
pool (float[1, 3, 8, 8] img) => (float[1, 4] y) <float[4, 3, 3, 3] w> {{
    c = Conv <pads = [1, 1, 1, 1]> (img, w)
    p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (c)
    g = GlobalAveragePool(p)
    y = Flatten(g)
}}"""

CONSTANTS = f"""{HEAD}
constants (float[1, 6, 8] x) => (float[1, 6, 8] y) <float[8, 8] w> {{
    low = Constant <value_float = -0.5> ()
    m = MatMul(x, w)
    t = Max(m, low)
    positive = Greater(t, low)
    y = Where(positive, t, low)
}}"""

DET = f"{HEAD} det (float[4, 4] x) => (float y) {{ y = Det(x) }}"

GRU = f"""{HEAD}
gru (float[6, 1, 5] x, float[1, 12, 5] w, float[1, 12, 4] r) => (float[6, 1, 1, 4] y) {{
    y, h = GRU <hidden_size = 4> (x, w, r)
}}"""


class Calibration:
    """A few random samples of a model."""

    def __init__(self, model: Model, count: int = 8) -> None:
        self.model, self.count, self.digest = model, count, f"random-{count}"

    def samples(self):
        return equivalence.random_feeds(self.model.inputs, self.count, seed=3)


def errors(model: Model, file: Made) -> list[float]:
    """Worst error of each output on a calibrated sample, relative to its largest magnitude."""
    feeds = next(iter(Calibration(model).samples()))
    actual = file.interface.answers(Session(file.path, {"threads": 1}).run(file.interface.feeds(feeds)))
    return [
        equivalence.worst_error(expected, found)
        for expected, found in zip(OnnxSession(model.path).run(feeds), actual, strict=True)
    ]


@pytest.fixture(scope="module")
def conv(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return networks.network(tmp_path_factory.mktemp("conv"), CONV)


@pytest.fixture(scope="module")
def exported(conv: Model, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Made:
    samples = Calibration(conv).samples()
    return export(conv, worker, tmp_path_factory.mktemp("exported"), samples=samples)


def test_names_order_layout_and_types_are_kept(conv: Model, exported: Made) -> None:
    file = files.load(exported.path)
    assert file.inputs == conv.inputs
    assert file.outputs == conv.outputs
    assert exported.interface.changes == ()
    assert exported.path.name == f"{exported.sha256}.tflite"
    assert file_digest(exported.path) == exported.sha256
    assert exported.size_bytes == exported.path.stat().st_size
    assert max(errors(conv, exported)) < 1e-5


def test_channels_last_is_an_allowed_change_and_is_told(conv: Model, worker: Worker, tmp_path: Path) -> None:
    file = export(conv, worker, tmp_path, channels_last=True)
    assert file.interface.changes == ("input img is channels last (axes 0, 2, 3, 1)",)
    assert [spec.shape for spec in files.load(file.path).inputs] == [(1, 8, 8, 3), (1, 4)]
    assert files.load(file.path).outputs == conv.outputs
    assert max(errors(conv, file)) < 1e-5


def test_what_was_made_is_found_again_unless_it_is_damaged(
    conv: Model, exported: Made, worker: Worker
) -> None:
    folder = exported.path.parent
    broken = replace(worker.environment, folder=folder / "no such environment")
    assert export(conv, Worker(broken), folder) == exported  # nothing can be made with this one
    exported.path.write_bytes(b"damaged")
    assert export(conv, worker, folder) == exported
    assert file_digest(exported.path) == exported.sha256
    with pytest.raises(EdgeoptError, match="tools are damaged"):
        export(conv, Worker(replace(broken, digest="other tools")), folder)


def test_static_int8_keeps_the_interface_and_the_answers(
    conv: Model, exported: Made, worker: Worker, tmp_path: Path
) -> None:
    file = static_int8(exported, Calibration(conv), worker, tmp_path)
    assert files.load(file.path).inputs == conv.inputs
    assert files.load(file.path).outputs == conv.outputs
    assert 0 < max(errors(conv, file)) < 0.05
    dtypes = {
        str(np.dtype(tensor["dtype"])) for tensor in Session(file.path)._interpreter.get_tensor_details()
    }
    assert {"int8", "int32", "float32"} <= dtypes
    nothing = Worker(replace(worker.environment, folder=tmp_path / "none"))
    assert static_int8(exported, Calibration(conv), nothing, tmp_path) == file
    other = static_int8(exported, Calibration(conv, 2), worker, tmp_path)
    assert other.sha256 != file.sha256  # other samples, other ranges


KINDS = {
    "residual": networks.RESIDUAL,
    "transformer": networks.TRANSFORMER,
    "pool": MAXPOOL,
    "constants": CONSTANTS,
}


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_kinds_of_networks_convert_and_quantize(text: str, worker: Worker, tmp_path: Path) -> None:
    model = networks.network(tmp_path, text)
    file = export(model, worker, tmp_path)
    assert max(errors(model, file)) < 1e-3
    quantized = static_int8(file, Calibration(model), worker, tmp_path)
    assert max(errors(model, quantized)) < 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DET, "converting to LiteRT failed: LiteRT has no operator for DET as it is used here"),
        (GRU, "converting to LiteRT failed: GRU .*: GRU W and R must be constant tensors"),
    ],
    ids=["det", "gru"],
)
def test_what_does_not_convert_has_a_reason_in_one_line_and_a_log(
    text: str, message: str, worker: Worker, tmp_path: Path
) -> None:
    model = made.model(tmp_path / "m.onnx", text)
    with pytest.raises(CandidateFailed, match=message) as failure:
        export(model, worker, tmp_path / "out")
    assert "\n" not in failure.value.message
    assert len(failure.value.message) < 350
    assert failure.value.hint
    assert "Traceback" in Path(failure.value.hint.rpartition(" ")[2]).read_text()
    assert list((tmp_path / "out").glob("*.tflite")) == []


def test_a_file_that_computes_something_else_is_refused(
    conv: Model, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tools are given another model than the one that is compared with."""
    other = networks.network(tmp_path, CONV.replace("Add(flat, bias)", "Sub(flat, bias)"))
    monkeypatch.setattr("edgeopt.graph.litert.export.Session", lambda _: OnnxSession(conv.path))
    with pytest.raises(CandidateFailed, match="the LiteRT file computes something else: output 'y' changed"):
        export(other, worker, tmp_path / "out")
    assert list((tmp_path / "out").glob("*.tflite")) == []


def test_a_tool_that_hangs_or_crashes_is_ended(conv: Model, tools: Environment, tmp_path: Path) -> None:
    with Worker(tools) as worker:
        with pytest.raises(CandidateFailed, match=r"failed: not done after 0 s") as failure:
            export(conv, worker, tmp_path, deadline_s=0.05)
        assert failure.value.hint
        assert export(conv, worker, tmp_path).path.is_file()  # the next one gets a process of its own
    (tmp_path / "env" / "bin").mkdir(parents=True)
    program = tmp_path / "env" / "bin" / "python"
    program.write_text("#!/bin/sh\nread line\nkill -SEGV $$\n")
    program.chmod(0o755)
    with (
        Worker(replace(tools, folder=tmp_path / "env", digest="x")) as worker,
        pytest.raises(CandidateFailed, match=r"the tool crashed \(signal 11\)"),
    ):
        export(conv, worker, tmp_path)


def test_one_process_serves_until_it_is_closed(conv: Model, tools: Environment, tmp_path: Path) -> None:
    with Worker(tools) as worker:
        made = export(conv, worker, tmp_path)
        first = worker._child
        assert first is not None
        static_int8(made, Calibration(conv), worker, tmp_path)
        assert worker._child is first
    assert first.poll() is not None
    assert worker._child is None


def test_a_damaged_environment_is_not_the_models_fault(
    conv: Model, tools: Environment, tmp_path: Path
) -> None:
    folder = tmp_path / "env"
    subprocess.run([tools.python, "-m", "venv", "--without-pip", folder], check=True)
    with (
        Worker(replace(tools, folder=folder)) as worker,
        pytest.raises(EdgeoptError, match="the LiteRT conversion tools are damaged: No module") as failure,
    ):
        export(conv, worker, tmp_path)
    assert not isinstance(failure.value, CandidateFailed)
    assert failure.value.hint == f"remove them, and they are installed again: rm -r {folder}"


def test_an_open_shape_is_refused(worker: Worker, tmp_path: Path) -> None:
    text = f'{HEAD} open (float["n", 4] x) => (float["n", 4] y) {{ y = Relu(x) }}'
    with pytest.raises(ModelError, match="input 'x' has an open shape"):
        export(load(made.save(tmp_path / "m.onnx", text)), worker, tmp_path)


def test_conversion_looks_up_nobody(tools: Environment, tmp_path: Path) -> None:
    """In an empty network, where whatever is asked is heard."""
    model = networks.network(tmp_path, CONV)
    program = f"""
from pathlib import Path
from edgeopt.graph.litert.environment import Environment
from edgeopt.graph.litert.export import export
from edgeopt.graph.litert.quantize import static_int8
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import load
from tests.graph.litert.test_export import Calibration
model, folder = load(Path({str(model.path)!r})), Path({str(tmp_path / "out")!r})
with Worker(Environment(Path({str(tools.folder)!r}), "x")) as tools:
    assert static_int8(export(model, tools, folder), Calibration(model), tools, folder).path.exists()
"""
    assert heard_from(program, tmp_path) == []
