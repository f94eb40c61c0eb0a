"""How much of the host's memory and disk 1,000 candidates of a MobileNetV2-size model take.

    python benchmarks/build_memory.py [COUNT]

Prints the resident memory of this process after 50, 250, 500, ... COUNT (default 1,000) different random
candidates, and what the folder of artifacts takes on the disk. The goal is less than 100 MB of growth after
the first 50, by when the caches (256 MB of converted weights, 16 rewritten graphs) are in use.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeopt.graph.model import freeze, load
from edgeopt.testing.precision import Bench, random_candidates
from tests.graph.mobilenet import mobilenet_v2

FIRST = 50
MARKS = (FIRST, 100, 250, 500, 750)


def resident_bytes() -> int:
    """Memory of this process that is not shared with files, as `/proc` says."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def disk_bytes(folder: Path) -> int:
    """What the files of a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Build, and print a line at every mark."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "mobilenet_v2.onnx"
        onnx.save(mobilenet_v2(batchnorm=True), path)
        bench = Bench.of(freeze(load(path), {}), folder)
        start, first = time.process_time(), 0
        for number, candidate in enumerate(random_candidates(bench.space, count, seed=0), 1):
            bench.builder.build(candidate)
            if number in {*MARKS, count}:
                gc.collect()
                resident = resident_bytes()
                first = first or resident
                print(
                    f"{number:5d} candidates: {resident / 1e6:6.0f} MB resident "
                    f"({(resident - first) / 1e6:+.0f} MB), {disk_bytes(folder / 'built') / 1e6:6.0f} MB on "
                    f"disk, {time.process_time() - start:.0f} s of CPU time",
                    flush=True,
                )


if __name__ == "__main__":
    main()
