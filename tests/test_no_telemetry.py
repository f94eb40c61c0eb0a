"""No process that runs a model asks anybody anything: seen from inside an empty network.

The test runs in a network namespace of its own, where the only name server is a listener of this test:
whatever looks up any host is heard.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

LISTENER = textwrap.dedent("""
    import fcntl, json, os, socket, struct, subprocess, sys, threading, time

    # A new network namespace has its loopback down: raise it (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING).
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x41))

    heard = []
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 53))

    def name(packet):
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode(errors="replace"))
            at += packet[at] + 1
        return ".".join(labels)

    def listen():
        while True:
            packet, sender = listener.recvfrom(512)
            heard.append(name(packet))
            # NXDOMAIN at once, so that nothing waits for a timeout.
            listener.sendto(packet[:2] + b"\\x81\\x83" + packet[4:6] + bytes(6) + packet[12:], sender)

    threading.Thread(target=listen, daemon=True).start()
    with open(sys.argv[1], "w") as resolver:
        resolver.write("nameserver 127.0.0.1\\noptions attempts:1 timeout:1\\n")
    subprocess.run(["mount", "--bind", sys.argv[1], os.path.realpath("/etc/resolv.conf")], check=True)

    finished = subprocess.run([sys.executable, "-c", sys.argv[2]], capture_output=True, text=True)
    print(json.dumps({"heard": heard, "exit": finished.returncode, "error": finished.stderr[-2000:]}))
""")

RUN_A_MODEL = textwrap.dedent("""
    import os, time
    import numpy, onnx
    from edgeopt.runtimes.onnxruntime import Session
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Relu(x) }'
    )
    session = Session(model.SerializeToString(), {"threads": 1})
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    end = time.monotonic() + 5
    while time.monotonic() < end:
        session.run({"x": numpy.ones(4, numpy.float32)})
""")

RUN_A_LITERT_MODEL = textwrap.dedent("""
    import time
    from pathlib import Path
    import numpy
    from edgeopt.runtimes.litert import Session
    session = Session(Path("tests/fixtures/litert/conv.tflite"), {"threads": 1})
    end = time.monotonic() + 5
    while time.monotonic() < end:
        session.run({"img": numpy.ones((1, 8, 8, 3), numpy.float32)})
""")

LOOK_UP = "import socket\ntry:\n    socket.getaddrinfo('telemetry.example', 443)\nexcept OSError: pass"


def heard_from(program: str, folder: Path) -> list[str]:
    """The names that a program looks up, in an empty network."""
    isolation = ["unshare", "--net", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    command = [*isolation, sys.executable, "-c", LISTENER, str(folder / "resolv.conf"), program]
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if finished.returncode:
        pytest.fail(f"this machine does not let a test make a network of its own: {finished.stderr.strip()}")
    answer = json.loads(finished.stdout)
    assert answer["exit"] == 0, answer["error"]
    return list(answer["heard"])


def test_the_listener_hears_a_look_up(tmp_path: Path) -> None:
    assert "telemetry.example" in heard_from(LOOK_UP, tmp_path)


@pytest.mark.parametrize("program", [RUN_A_MODEL, RUN_A_LITERT_MODEL], ids=["onnxruntime", "litert"])
def test_running_a_model_looks_up_nobody(program: str, tmp_path: Path) -> None:
    assert heard_from(program, tmp_path) == []


def test_the_runtime_is_held_below_the_version_that_asks() -> None:
    import onnxruntime

    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    assert version < (1, 29)
