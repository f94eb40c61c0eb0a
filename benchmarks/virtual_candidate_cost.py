"""What a candidate of MobileNetV2's size (224 x 224, float32) costs on a virtual Raspberry Pi 4, all in.

The first pays for importing the runtime and for pricing its blocks; the others find their blocks priced.
At the end, the most memory that the emulator of the board, which has 1 GiB, ever held on this machine.
Run on an otherwise idle machine (the goals are 15 s, 8 s and 600 MB):

    python -m benchmarks.virtual_candidate_cost
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from edgeopt.boards import profiles
from edgeopt.boards.connect import connect
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.running import Running
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.measurement import Measurement
from edgeopt.core.profile import DeviceProfile
from edgeopt.graph.workload import workload
from tests.graph.mobilenet import mobilenet_v2

CANDIDATES = 4


def main() -> None:
    """Print a line for each candidate."""
    profile, model = profiles.load("rpi4"), mobilenet_v2()
    shape = [size.dim_value or 1 for size in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {model.graph.input[0].name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder, _up(profile, folder) as running:
        begun = time.monotonic()
        board = connect(profile, "virtual", Inventory({}), workload).board
        print(f"open         {time.monotonic() - begun:5.1f} s")
        for number in range(CANDIDATES):
            model.producer_name = (
                f"{time.time_ns()}"  # another file: nothing is found on the board, nor in counts kept
            )
            path = Path(folder, f"{number}.onnx")
            onnx.save(model, path)
            artifact = Artifact(
                path.name, path, file_digest(path), path.stat().st_size, session_options={"threads": 1}
            )
            begun = time.monotonic()
            (result,) = board.measure([artifact], feeds, profiles.protocols(profile, "normal")["screen"])
            assert isinstance(result, Measurement), result
            print(f"candidate {number}  {time.monotonic() - begun:5.1f} s   {result.latency}")
        board.close()
        print(f"emulator     {_most_resident(running.pid) / 1e6:.0f} MB resident at most")


@contextlib.contextmanager
def _up(profile: DeviceProfile, folder: str) -> Iterator[Running]:
    """A board of 1 GiB that is up for this benchmark alone."""
    os.environ["EDGEOPT_HOME"] = folder
    running = machine.up(profile, ram_bytes=1 << 30, keep=True)
    try:
        yield running
    finally:
        machine.down(running)


def _most_resident(pid: int) -> int:
    """The most bytes of memory that a process that is alive ever held; see proc(5), VmHWM."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kilobytes * 1024


if __name__ == "__main__":
    main()
