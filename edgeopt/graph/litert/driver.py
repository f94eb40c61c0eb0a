"""Runs in the tools' own environment, never in edgeopt's: exports, quantizes and runs LiteRT files.

It is kept, for importing the tools takes longer than most of what they do: each line of stdin is a JSON list
of steps, and is answered with a line on stdout, a list with one entry for each step: `{"ok": ...}`, or last
`{"error": {"kind": "model"|"environment", "message"}}`. It ends when stdin does. Everything that the tools
print goes to stderr: a log.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def export(model: str, keep: list[str], target: str, folder: str, outputs: list[str]) -> None:
    """Convert an ONNX file; inputs named in `keep` keep their layout, others become channels last.

    `outputs` are in the order that is wanted.
    """
    import onnx2tf

    onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path=folder,
        tflite_backend="flatbuffer_direct",
        keep_shape_absolutely_input_names=keep or None,
        non_verbose=True,
    )
    (made,) = Path(folder).glob("*_float32.tflite")
    found = [known["name"] for known in _interpreter(str(made)).get_output_details()]
    if found != outputs and sorted(found) == sorted(outputs):
        made.write_bytes(in_order(made.read_bytes(), [found.index(name) for name in outputs]))
    shutil.move(made, target)


def in_order(content: bytes, places: list[int]) -> bytes:
    """The file with its outputs in another order: the one at `places[0]` first."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    graph.outputs = [graph.outputs[place] for place in places]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def ranges(model: str, samples: str, names: list[str], target: str) -> None:
    """The smallest and the largest value of every tensor over all samples, as an `.npz` file."""
    import numpy
    from litert_quantizer import calibrator, recipe, recipe_manager
    from litert_quantizer.utils.qsv_utils import min_max_update

    everything = recipe_manager.RecipeManager()
    everything.load_quantization_recipe(recipe.static_wi8_ai8())
    found = calibrator.Calibrator(model, num_threads=2, qsv_update_func=min_max_update)
    (signature,) = _interpreter(model).get_signature_list()
    found.calibrate({signature: Samples(samples, names)}, everything)
    known = found.get_model_qsvs()
    arrays: dict[str, Any] = {
        f"{number}:{key}": numpy.asarray(value)
        for number, statistics in enumerate(known.values())
        for key, value in statistics.items()
    }
    with Path(target).open("wb") as stream:
        numpy.savez(stream, names=numpy.array(list(known)), **arrays)


def read_ranges(path: str) -> dict[str, dict[str, Any]]:
    """What `ranges` wrote, as the quantizer wants it."""
    import numpy

    with numpy.load(path, allow_pickle=False) as arrays:
        found: dict[str, dict[str, Any]] = {str(name): {} for name in arrays["names"]}
        statistics = list(found.values())
        for name in arrays.files:
            number, colon, key = name.partition(":")
            if colon:
                statistics[int(number)][key] = arrays[name]
    return found


def quantize(
    model: str, target: str, recipes: list[list[str]], calibrated: str | None, skipped: list[str]
) -> None:
    """Quantize where a pattern fits the name of an operator's output: `recipes` are (pattern, recipe) pairs.

    `calibrated` is a file that `ranges` wrote; `skipped` operators stay in float32.
    """
    from litert_quantizer import quantizer

    tool = quantizer.Quantizer(model)
    for pattern, recipe in recipes:
        RECIPES[recipe](tool, pattern)
    for operator in skipped:
        tool.update_quantization_recipe(".*", operator, None, "no_quantize")
    known = read_ranges(calibrated) if calibrated else None
    result = tool.quantize(known, enable_progress_bar=False, enable_progress_report=False)
    Path(target).write_bytes(with_outputs(result.quantized_model, model))


def static(tool: Any, pattern: str, activation_bits: int) -> None:
    """Weights in int8 per channel, activations per tensor."""
    from litert_quantizer.qtyping import QuantGranularity

    tool.add_static_config(pattern, "*", activation_bits, 8)
    # The kernel takes the first channel's scale for all: per-channel weights would give wrong products.
    tool.add_static_config(pattern, "BATCH_MATMUL", activation_bits, 8, QuantGranularity.TENSORWISE)


RECIPES: dict[str, Callable[[Any, str], None]] = {
    "int8_static_channel": lambda tool, pattern: static(tool, pattern, 8),
    "int16x8": lambda tool, pattern: static(tool, pattern, 16),
    "int8_dynamic": lambda tool, pattern: tool.add_dynamic_config(pattern, "*", 8),
    "int8_weights": lambda tool, pattern: tool.add_weight_only_config(pattern, "*", 8),
    "int4_weights": lambda tool, pattern: tool.add_weight_only_config(pattern, "*", 4),
    "float16_weights": lambda tool, pattern: tool.add_weight_only_config(
        pattern, "*", 16, algorithm_key="float_casting"
    ),
}


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


STEPS: dict[str, Callable[..., Any]] = {step.__name__: step for step in (export, ranges, quantize, run)}


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


def answers(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Do steps in order; the first that fails is the last."""
    given: list[dict[str, Any]] = []
    for request in requests:
        given.append(answer(request))
        if "error" in given[-1]:
            break
    return given


def main() -> None:
    """Answer line by line."""
    with contextlib.suppress(OSError, AttributeError):  # Linux: never outlive edgeopt
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a tool prints must not get into the answers
    for line in sys.stdin:
        print(json.dumps(answers(json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
