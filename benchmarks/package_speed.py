"""How long it takes to package and to verify a model of 25 million parameters (100 MB).

    python benchmarks/package_speed.py [ROUNDS]

Prints the median time, and beside it that of the CPU, of `edgeopt package` and `edgeopt verify` as processes,
and of what they do without starting Python and importing libraries. Together they should take at most 2 s.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeopt.field import npz
from edgeopt.field.keyring import Keyring
from edgeopt.field.verify import verify
from edgeopt.report.context import Evidence, ReportContext
from tests.e2e import made as models
from tests.field import made

WIDTH, LAYERS = 2500, 4


def study(folder: Path) -> Path:
    """The folder of a study whose result is four dense layers of 2500 x 2500."""
    made.study(folder)
    names = [f"w{n}" for n in range(LAYERS)]
    values = ["x", *(f"h{n}" for n in range(1, LAYERS)), "y"]
    models.save(
        folder / "best.onnx",
        [helper.make_node("MatMul", [values[n], names[n]], [values[n + 1]]) for n in range(LAYERS)],
        [models.value("x", [1, WIDTH])],
        [models.value("y", [1, WIDTH])],
        [models.weight(name, WIDTH, WIDTH) for name in names],
    )
    samples = np.random.default_rng(0).standard_normal((8, 1, WIDTH)).astype(np.float32)
    (folder / "golden.npz").write_bytes(npz.to_bytes({"x": samples}))
    context = ReportContext(command="edgeopt optimize", created=made.CREATED.isoformat())
    (folder / "best.json").write_text(Evidence(made.document(folder), context).to_json())
    return folder


@dataclass(frozen=True)
class Times:
    """Of a wall clock, and of the CPU in all processes."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: Times) -> Times:
        return Times(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s ({self.cpu_s:.2f} s CPU)"


def median_s(rounds: int, work: Callable[[], object]) -> Times:
    """On an idle machine both are the same but for the disk."""
    wall, cpu = [], []
    for _ in range(rounds):
        start, used = time.perf_counter(), sum(os.times()[:4])
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(sum(os.times()[:4]) - used)
    return Times(statistics.median(wall), statistics.median(cpu))


def main() -> None:
    """Time both ways."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder, keyring = study(place / "study"), made.keyring(place / "keys")
        parameters, size = LAYERS * WIDTH**2, (folder / "best.onnx").stat().st_size
        print(f"{parameters / 1e6:.0f} M parameters, {size / 1e6:.0f} MB")
        package = place / "m.edgepkg"

        def edgeopt(*arguments: object) -> None:
            command = [sys.executable, "-m", "edgeopt", *map(str, arguments)]
            subprocess.run(command, check=True, capture_output=True)

        hashed = median_s(rounds, lambda: hashlib.sha256((folder / "best.onnx").read_bytes()).digest())
        packed = median_s(rounds, lambda: made.package(package, folder, keyring))
        trust = Keyring.open(keyring.folder).trust
        verified = median_s(rounds, lambda: verify(package, trust))
        key = keyring.folder / "edgeopt.key"
        first = median_s(rounds, lambda: edgeopt("package", folder, "-o", package, "--key", key))
        second = median_s(rounds, lambda: edgeopt("verify", package, "--trust", keyring.folder))
    print(f"SHA-256 of the model once: {hashed}")
    print(f"package {packed} + verify {verified} = {packed + verified}")
    print(f"as commands: {first} + {second} = {first + second}")


if __name__ == "__main__":
    main()
