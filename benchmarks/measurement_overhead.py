"""How much of a final-stage measurement is inference, and how often it crosses the network.

Over a real sshd on loopback (Debian's openssh-server): a model and a copy of it under another name, as the
final stage measures them, `--effort normal`. Printed are

- timed inference / wall time from the call to its answer, once everything is on the board (warm-up and the
  first inference of each process are not counted); at least 85 %; also, how much of it counts: where others
  have the core, too, only quiet segments do (`boards/quiet.py`);
- the same share as it would be if nobody else used the machine: what is not inference is counted by the CPU
  time that this process, the runner and its children took for it, which others cannot make longer;
- requests to the runner and SSH channels opened, for a first measurement (with uploads), for one that brings
  a new artifact, and for one that brings nothing; at most 4.

On boards it is not known: importing a runtime takes a slow core longer, and its window is the same.

    python -m benchmarks.measurement_overhead [--device local] [MODEL.onnx]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.boards import profiles, quiet
from edgeopt.boards.address import Address
from edgeopt.boards.connected import REQUEST_DEADLINE_S
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.resources import resource
from edgeopt.runtimes.onnxruntime import Session
from tests.boards.counted_trips import CountingTrips
from tests.sshd import Sshd, make_key

LEAST_SHARE = 0.85
MOST_TRIPS = 4


def runner_cpu_s(board: RunnerBoard) -> float:
    """CPU time of the runner and of the children that have ended."""
    with board._reachable() as dialogue:
        return float(dialogue.ask("conditions", REQUEST_DEADLINE_S)["own_s"])


@contextmanager
def all_inferences() -> Iterator[list[float]]:
    """Receives an answer's seconds of inference, counted or not, their CPU seconds, and its processes."""
    seconds: list[float] = []
    choose = quiet.used

    def used(answer: Mapping[str, Any], protocol: Protocol) -> list[quiet.Use]:
        processes = [process for model in answer["models"] for process in model["processes"]]
        seconds[:] = [
            sum(sum(process["latencies_ms"]) for process in processes) / 1e3,
            sum(process["cpu_s"] for process in processes),
            len(processes),
        ]
        return choose(answer, protocol)

    quiet.used = used
    try:
        yield seconds
    finally:
        quiet.used = choose


def main() -> int:
    """Print shares and trips; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=resource("examples/cnn/model.onnx"))
    parser.add_argument("--device", default="local", help="whose final stage")
    asked = parser.parse_args()
    final = profiles.protocols(profiles.load(asked.device))["final"]
    inputs = Session(asked.model).inputs
    feeds = {i.name: np.zeros([size or 1 for size in i.shape], i.dtype) for i in inputs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HOME"] = str(folder / "home")
        (folder / "home" / ".ssh").mkdir(parents=True)
        variants = []
        for number in range(2):  # another file each: a byte more after the model's end is an empty field
            path = folder / f"{number}.onnx"
            path.write_bytes(asked.model.read_bytes())
            if number:
                import onnx

                model = onnx.load(path)
                model.producer_name = f"variant {number}"
                onnx.save(model, path)
            options: dict[str, object] = {"threads": 1}
            variants.append(Artifact("key", path, file_digest(path), path.stat().st_size,
                                     session_options=options))  # fmt: skip
        server = Sshd(folder / "board", make_key(folder / "identity")).start()
        try:
            server.trust()
            counting = CountingTrips(ssh.connect(Address.parse(server.url)))
            with RunnerBoard("loopback", asked.device, lambda: counting) as board:
                missed = False
                rounds = (
                    ("first, the control alone", variants[:1]),
                    ("a new artifact beside the control", variants),
                    ("both known", variants),
                )
                for what, artifacts in rounds:
                    cpu_s = time.process_time() + runner_cpu_s(board)
                    before, begun = counting.trips, time.monotonic()
                    with all_inferences() as told:
                        results = board.measure(artifacts, feeds, final)
                    wall_s, trips = time.monotonic() - begun, counting.trips - before
                    cpu_s = time.process_time() + runner_cpu_s(board) - cpu_s
                    measured = [result for result in results if isinstance(result, Measurement)]
                    timed_s, inferring_s, processes = told
                    counted_s = sum(sum(result.latencies_ms) for result in measured) / 1e3
                    share, alone = timed_s / wall_s, timed_s / (timed_s + cpu_s - inferring_s)
                    print(
                        f"{what}: {timed_s:.1f} s of {wall_s:.1f} s are timed inference, {share:.1%} "
                        f"({counted_s:.1f} s of it counts); on an idle machine {alone:.1%} "
                        f"({(cpu_s - inferring_s) / processes:.2f} s of CPU beside it a process); "
                        f"{trips} round trips",
                        flush=True,
                    )
                    missed |= trips > MOST_TRIPS or (what == "both known" and share < LEAST_SHARE)
        finally:
            server.kill()
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
