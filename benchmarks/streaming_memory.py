"""How much memory it takes to check and stream a large `.npz`: `python benchmarks/streaming_memory.py`.

Writes an archive of zeros (`--gigabytes`, 3 by default; stored as it is with `--stored`), opens it as data in
a fresh process, reads all samples twice and then every tenth, and prints that process's peak memory and the
times.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

SAMPLE = (3, 224, 224)
READER = """
import json, sys, time
from pathlib import Path
import numpy as np
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.source import open_data

path, shape = Path(sys.argv[1]), json.loads(sys.argv[2])
start = time.perf_counter()
dataset = open_data(path.name, [TensorSpec("x", "float32", (1, *shape))], base=path.parent)
checked_s = time.perf_counter() - start
start = time.perf_counter()
read = sum(feeds["x"].shape[0] for feeds in dataset.samples())
streamed_s = time.perf_counter() - start
read += sum(feeds["x"].shape[0] for feeds in dataset.samples(np.arange(0, len(dataset), 10)))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak_mb = int(status["VmHWM"].split()[0]) / 1024
figures = {"samples": len(dataset), "read": read, "peak_mb": peak_mb}
print(json.dumps(figures | {"checked_s": checked_s, "streamed_s": streamed_s}))
"""


def write_zeros(path: pathlib.Path, samples: int, compressed: bool) -> None:
    """An `.npz` with float32 `x` of shape `(samples, *SAMPLE)`, written without holding it."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    row = bytes(4 * int(np.prod(SAMPLE)))
    with (
        zipfile.ZipFile(path, "w", method, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as stream,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (samples, *SAMPLE)}
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(samples):
            stream.write(row)


def measure(samples: int, compressed: bool) -> dict[str, float]:
    """Figures of a fresh process that checks and streams such an archive."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "zeros.npz")
        write_zeros(path, samples, compressed)
        command = [sys.executable, "-c", READER, str(path), json.dumps(SAMPLE)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def main() -> None:
    """Print the figures of one archive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--stored", action="store_true")
    given = parser.parse_args()
    samples = round(given.gigabytes * 1e9 / (4 * int(np.prod(SAMPLE))))
    figures = measure(samples, not given.stored)
    print(f"{given.gigabytes:g} GB, {samples} samples, {'stored' if given.stored else 'compressed'}:")
    print(f"  peak memory {figures['peak_mb']:.0f} MB")
    print(f"  checked in {figures['checked_s']:.1f} s, streamed again in {figures['streamed_s']:.1f} s")


if __name__ == "__main__":
    main()
