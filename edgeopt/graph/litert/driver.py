"""Runs in the tools' own environment, never in edgeopt's: exports, quantizes and runs LiteRT files.

`python driver.py REQUEST ANSWER`: a JSON list of steps, and where the answers go, one for each:
`{"ok": ...}`, or last `{"error": {"kind": "model"|"environment", "message"}}`.
Everything that the tools print goes to wherever stdout and stderr go: a log.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def export(model: str, keep: list[str], target: str, folder: str) -> None:
    """Convert an ONNX file; inputs named in `keep` keep their layout, others become channels last."""
    import onnx2tf

    onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path=folder,
        tflite_backend="flatbuffer_direct",
        keep_shape_absolutely_input_names=keep or None,
        non_verbose=True,
    )
    (made,) = Path(folder).glob("*_float32.tflite")
    shutil.move(made, target)


def quantize(model: str, target: str, samples: str, names: list[str], skipped: list[str]) -> None:
    """Static int8: weights per channel, activations per tensor; `skipped` operators stay in float32."""
    from litert_quantizer import calibrator, qtyping, quantizer, recipe, recipe_manager
    from litert_quantizer.utils.qsv_utils import min_max_update

    everything = recipe_manager.RecipeManager()
    everything.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = calibrator.Calibrator(model, num_threads=2, qsv_update_func=min_max_update)
    (signature,) = _interpreter(model).get_signature_list()
    ranges.calibrate({signature: Samples(samples, names)}, everything)
    tool = quantizer.Quantizer(model, everything.get_quantization_recipe())
    # The kernel takes the first channel's scale for all: per-channel weights would give wrong products.
    tool.add_static_config(".*", "BATCH_MATMUL", 8, 8, qtyping.QuantGranularity.TENSORWISE)
    for operator in skipped:  # only now: ranges are needed around what is skipped too
        tool.update_quantization_recipe(".*", operator, None, "no_quantize")
    result = tool.quantize(ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False)
    Path(target).write_bytes(with_outputs(result.quantized_model, model))


def with_outputs(quantized: bytes, model: str) -> bytes:
    """A quantized file whose outputs are called as those of `model`: the quantizer calls them `*_dequant`."""
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(quantized)
    graph = content.subgraphs[0]
    for index, known in zip(graph.outputs, _interpreter(model).get_output_details(), strict=True):
        name = known["name"].encode()
        for tensor in graph.tensors:
            if tensor.name == name:
                tensor.name = name + b"_quantized"
        graph.tensors[index].name = name
    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def run(model: str, samples: str, names: list[str], target: str) -> int:
    """Outputs of every sample as `SAMPLE_OUTPUT.npy`; returns how many samples there were."""
    import numpy

    interpreter, count = _interpreter(model), 0
    interpreter.allocate_tensors()
    inputs = {known["name"]: known["index"] for known in interpreter.get_input_details()}
    for count, feeds in enumerate(Samples(samples, names), start=1):
        for name, value in feeds.items():
            interpreter.set_tensor(inputs[name], value)
        interpreter.invoke()
        for position, known in enumerate(interpreter.get_output_details()):
            numpy.save(Path(target, f"{count - 1}_{position}.npy"), interpreter.get_tensor(known["index"]))
    return count


def _interpreter(model: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=model, num_threads=2)


class Samples:
    """From `SAMPLE_INPUT.npy`, one at a time, as often as is wanted: all may be more than fits in memory."""

    def __init__(self, folder: str, names: list[str]) -> None:
        self.folder, self.names = Path(folder), names

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import numpy

        number = 0
        while (self.folder / f"{number}_0.npy").exists():
            paths = (self.folder / f"{number}_{position}.npy" for position in range(len(self.names)))
            yield dict(zip(self.names, map(numpy.load, paths), strict=True))
            number += 1


STEPS: dict[str, Callable[..., Any]] = {step.__name__: step for step in (export, quantize, run)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do one step; whatever goes wrong is told."""
    try:
        return {"ok": STEPS[request.pop("step")](**request)}
    except ImportError as error:
        traceback.print_exc()
        return {"error": {"kind": "environment", "message": str(error)}}
    except (Exception, SystemExit) as error:  # tools raise anything, and onnx2tf exits
        traceback.print_exc()
        return {"error": {"kind": "model", "message": str(error) or type(error).__name__}}


def main() -> None:
    """Do the steps in order; the first that fails is the last."""
    with contextlib.suppress(OSError, AttributeError):  # Linux: never outlive edgeopt
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    answers: list[dict[str, Any]] = []
    for request in json.loads(Path(sys.argv[1]).read_bytes()):
        answers.append(answer(request))
        if "error" in answers[-1]:
            break
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
