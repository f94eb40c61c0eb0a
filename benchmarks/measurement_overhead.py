"""How much of a final-stage measurement is inference, and how often it crosses the network.

Over a real sshd on loopback (Debian's openssh-server): a model and a copy of it under another name, as the
final stage measures them, `--effort normal`. Printed are

- timed inference / wall time from the call to its answer, once everything is on the board (warm-up and the
  first inference of each process are not counted); at least 85 %;
- requests to the runner and SSH channels opened, for a first measurement (with uploads), for one that brings
  a new artifact, and for one that brings nothing; at most 4.

    python -m benchmarks.measurement_overhead [--device local] [MODEL.onnx]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import Channel, CommandResult, Transport, ssh
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.measurement import Measurement
from edgeopt.resources import resource
from edgeopt.runtimes.onnxruntime import Session
from tests.sshd import Sshd, make_key

LEAST_SHARE = 0.85
MOST_TRIPS = 4


class Counting:
    """A transport that counts what crosses the network: requests, and channels that are opened."""

    def __init__(self, inner: Transport) -> None:
        self._inner, self.trips = inner, 0

    def start_runner(self) -> Channel:
        channel = self._inner.start_runner()
        send = channel.send

        def counted(data: bytes) -> None:
            self.trips += 1
            send(data)

        channel.send = counted  # type: ignore[method-assign]
        return channel

    def put(self, source: Path, sha256: str) -> None:
        self.trips += 1
        self._inner.put(source, sha256)

    def get(self, sha256: str, target: Path) -> None:
        self.trips += 1
        self._inner.get(sha256, target)

    def run(self, command: str, timeout_s: float = 30.0) -> CommandResult:
        self.trips += 1
        return self._inner.run(command, timeout_s)

    def close(self) -> None:
        self._inner.close()


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
            counting = Counting(ssh.connect(Address.parse(server.url)))
            with RunnerBoard("loopback", asked.device, lambda: counting) as board:
                missed = False
                rounds = (
                    ("first, the control alone", variants[:1]),
                    ("a new artifact beside the control", variants),
                    ("both known", variants),
                )
                for what, artifacts in rounds:
                    before, begun = counting.trips, time.monotonic()
                    results = board.measure(artifacts, feeds, final)
                    wall_s, trips = time.monotonic() - begun, counting.trips - before
                    timed_s = sum(sum(r.latencies_ms) for r in results if isinstance(r, Measurement)) / 1e3
                    share = timed_s / wall_s
                    print(
                        f"{what}: {timed_s:.1f} s of {wall_s:.1f} s are timed inference, {share:.1%}; "
                        f"{trips} round trips"
                    )
                    missed |= trips > MOST_TRIPS or (what == "both known" and share < LEAST_SHARE)
        finally:
            server.kill()
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
