"""How long virtual boards take (image from nothing, up by a boot, up from a saved state), and their memory.

    python benchmarks/virtual_board_speed.py [DEVICE]

The image is made in a folder of its own, so that what was downloaded or made before does not help.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import image, machine
from edgeopt.boards.virtual.running import Running

TARGETS = {"image from nothing": 90.0, "up, booted": 10.0, "up, from a saved state": 3.0}
ROUNDS = 3

RUN_A_MODEL = """
python3 - <<'END'
import numpy, onnxruntime
from ai_edge_litert.interpreter import Interpreter
numpy.ones((4 << 20,)).sum()
END
"""


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    took_s = time.perf_counter() - begun
    verdict = "" if took_s <= TARGETS[what] else "  TOO SLOW"
    print(f"{what:<24} {took_s:6.1f} s   (at most {TARGETS[what]:g} s){verdict}", flush=True)


def greeting(board: Running) -> None:
    """Wait for the first words of its SSH server."""
    with socket.create_connection(("127.0.0.1", board.port), 60) as client:
        if client.recv(4) != b"SSH-":
            raise SystemExit("no SSH server answers")


def resident_bytes(board: Running) -> int:
    status = Path(f"/proc/{board.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


def main(device: str) -> None:
    profile = profiles.load(device)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEOPT_CACHE"], os.environ["EDGEOPT_HOME"] = f"{folder}/cache", f"{folder}/home"
        with timed("image from nothing"):
            image.ready()
        for number in range(ROUNDS):
            for saved in image.folder().glob("*/saved"):
                shutil.rmtree(saved)
            with timed("up, booted"):
                booted = machine.up(profile)
                greeting(booted)
            machine.down(booted)
            with timed("up, from a saved state"):
                board = machine.up(profile)
                greeting(board)
            if number < ROUNDS - 1:
                machine.down(board)
        print(f"{'memory of the host':<24} {resident_bytes(board) / 1e6:6.0f} MB once up")
        with contextlib.closing(ssh.connect(Address.parse(board.url))) as shell:
            shell.run(RUN_A_MODEL, 300.0)
        print(f"{'':<24} {resident_bytes(board) / 1e6:6.0f} MB after importing all runtimes")
        machine.down(board)
        size = sum(path.stat().st_blocks * 512 for path in image.folder().rglob("*") if path.is_file())
        print(f"{'disk':<24} {size / 1e6:6.0f} MB: the image and one saved state")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "rpi4")
