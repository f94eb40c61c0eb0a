"""Judge an example: its latency, and what the well-known int8 recipes do to its answers.

`python examples/_recipes.py` judges all four committed examples and prints the table of `examples/README.md`.
"""

import math
import os
import pathlib
import statistics
import tempfile
import time
import tomllib

import numpy as np
import onnx
import onnxruntime
import soundfile
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

Z_THREE_FINALISTS = 2.13  # one-sided 95 %, Bonferroni-corrected for three finalists
EXAMPLES = pathlib.Path(__file__).parent


def open_session(path: pathlib.Path) -> onnxruntime.InferenceSession:
    """A session on one thread of one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def load(
    path: pathlib.Path, preprocess: dict, shape: list[int], dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    """Samples `(n, *shape[1:])` and labels of an .npz or of a folder of images or WAV files."""
    if path.suffix == ".npz":
        arrays = dict(np.load(path))
        labels = arrays.pop("labels")
        (values,) = arrays.values()
    else:
        classes = sorted(p.name for p in path.iterdir() if p.is_dir())
        files = sorted(path.glob("*/*.*"))
        labels = np.array([classes.index(f.parent.name) for f in files])
        values = np.stack([read_wav(f) if f.suffix == ".wav" else read_image(f, preprocess) for f in files])
    return values.reshape(-1, *shape[1:]).astype(dtype), labels


def read_wav(path: pathlib.Path) -> np.ndarray:
    """Samples in [-1, 1], float32."""
    return soundfile.read(path, dtype="float32")[0]


def read_image(path: pathlib.Path, preprocess: dict) -> np.ndarray:
    """A grey image that has its final size already, scaled and normalised, `(1, H, W)`."""
    pixels = np.asarray(Image.open(path).convert("L"), dtype=np.float32)
    assert pixels.shape == tuple(preprocess["resize"]), f"{path}: {pixels.shape}"
    return ((pixels * preprocess["scale"] - preprocess["mean"]) / preprocess["std"])[None].astype(np.float32)


def predict(path: pathlib.Path, samples: np.ndarray) -> np.ndarray:
    """The arg-max class of every sample, at batch 1."""
    session = open_session(path)
    name = session.get_inputs()[0].name
    return np.array([int(session.run(None, {name: sample[None]})[0].argmax()) for sample in samples])


def latency_ms(path: pathlib.Path, sample: np.ndarray) -> float:
    """Median time of one batch-1 inference on one thread, in ms."""
    session = open_session(path)
    feed = {session.get_inputs()[0].name: sample}
    times = []
    for _ in range(600):
        begin = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times[100:])


def drop_upper_bound(lost: int, gained: int, n: int, z: float = Z_THREE_FINALISTS) -> float:
    """One-sided upper bound of a paired accuracy drop, from the answers lost and gained.

    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908, the score interval, solved by bisection.
    """

    def score(drop: float) -> float:
        b = (2 * n - lost + gained) * drop - lost - gained
        q = (math.sqrt(b * b + 8 * n * gained * drop * (1 - drop)) - b) / (4 * n)
        return (lost - gained - n * drop) / math.sqrt(n * (2 * q + drop * (1 - drop)))

    low, high = max((lost - gained) / n, 1e-9), 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) > -z else (low, middle)
    return high


class Reader(CalibrationDataReader):
    """Feeds one sample at a time to ONNX Runtime's calibration."""

    def __init__(self, name: str, samples: np.ndarray) -> None:
        self._feeds = iter([{name: sample[None]} for sample in samples])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def build_int8(model: pathlib.Path, folder: pathlib.Path, samples: np.ndarray) -> dict[str, pathlib.Path]:
    """The three int8 files that a user would build by hand with `onnxruntime.quantization`."""
    name = onnx.load(model).graph.input[0].name
    prepared = folder / "prepared.onnx"
    quant_pre_process(model, prepared)
    files = {recipe: folder / f"{recipe}.onnx" for recipe in ("per-tensor", "per-channel", "dynamic")}
    for recipe in ("per-tensor", "per-channel"):
        quantize_static(
            prepared,
            files[recipe],
            Reader(name, samples),
            quant_format=QuantFormat.QDQ,
            per_channel=recipe == "per-channel",
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    quantize_dynamic(prepared, files["dynamic"], weight_type=QuantType.QInt8)
    return files


def judge(example: pathlib.Path) -> list[str]:
    """Rows of a table: the float model, then each int8 recipe with its flips and the bound of its drop."""
    project = tomllib.loads((example / "edgeopt.toml").read_text())
    data, model = project["data"], example / project["model"]["path"]
    proto = onnx.load(model)
    kind = proto.graph.input[0].type.tensor_type
    shape = [max(1, dim.dim_value) for dim in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    parts = {
        part: load(example / data[key], data.get("preprocess", {}), shape, dtype)
        for part, key in (("calibration", "calibration"), ("search", "path"), ("confirm", "confirm"))
    }
    samples, labels = parts["confirm"]
    right = predict(model, samples) == labels
    parameters = sum(math.prod(tensor.dims) for tensor in proto.graph.initializer)
    sizes = "/".join(str(len(parts[part][1])) for part in parts)
    rows = [
        f"| {example.name} | float32 | {parameters:,} | {model.stat().st_size / 1e6:.2f} "
        f"| {latency_ms(model, samples[:1]):.2f} | {right.mean():.4f} | | | {sizes} |"
    ]
    answers = predict(model, samples)
    with tempfile.TemporaryDirectory() as folder:
        for recipe, path in build_int8(model, pathlib.Path(folder), parts["calibration"][0]).items():
            other = predict(path, samples)
            now_right = other == labels
            lost, gained = int((right & ~now_right).sum()), int((~right & now_right).sum())
            bound = drop_upper_bound(lost, gained, len(labels))
            rows.append(
                f"| | {recipe} | | {path.stat().st_size / 1e6:.2f} | {latency_ms(path, samples[:1]):.2f} "
                f"| {now_right.mean():.4f} | {(other != answers).mean():.2%} | {bound / right.mean():.2%} | |"
            )
    return rows


if __name__ == "__main__":
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    columns = [
        "example",
        "variant",
        "parameters",
        "MB",
        "ms",
        "top1",
        "flipped",
        "drop bound",
        "calibration/search/confirm",
    ]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for toml in sorted(EXAMPLES.glob("*/edgeopt.toml")):
        print("\n".join(judge(toml.parent)), flush=True)
