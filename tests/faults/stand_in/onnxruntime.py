"""Stands in front of ONNX Runtime on a board, so that models can misbehave as no operator makes them.

A model file that begins with `FAULT` names what to do when it is loaded or run, and `STAND_IN_FAULTS`
(`WORD=WHEN DEED`) says it for files that contain a word; any other goes to the real runtime. Where there is
none, or it would take too long (`STAND_IN_ALONE`), a model that does nothing is run.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def garbage(stop=16):
    for descriptor in range(1, stop):
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\xff{} not JSON\n")


def fork_away(then=lambda: None):
    """A process in a session of its own, whose parent is gone; it keeps every descriptor open."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(1)
        os._exit(0)
    then()


def fork_many(count=20):
    for _ in range(count):
        if os.fork() == 0:
            while True:
                time.sleep(1)


def flood(descriptors, megabytes):
    line = b"x" * 65535 + b"\n"
    for _ in range(megabytes * 16):
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.write(descriptor, line)


def endless_answer():
    while True:
        for descriptor in range(3, 16):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"x" * 65536)


def close_all():
    os.closerange(0, 64)
    time.sleep(1000)


def eat():
    kept = []
    while True:
        kept.append(b"\1" * (1 << 24))


def offer_the_runner():
    """Memory ends, and of all that run the kernel kills who started this one."""
    Path("/proc/self/oom_score_adj").write_text("0")
    Path(f"/proc/{os.getppid()}/oom_score_adj").write_text("1000")
    eat()


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.01)


def fail(error):
    raise error


DEEDS = {
    "exit": lambda: os._exit(3),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": lambda: (os.write(2, b"terminate called: no such tensor\n"), os.abort()),
    "spin": lambda: wait_for("/nowhere"),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "fork": fork_away,
    "fork-and-exit": lambda: fork_away(lambda: os._exit(3)),
    "fork-many": fork_many,
    "fork-many-and-spin": lambda: (fork_many(), wait_for("/nowhere")),
    "garbage": garbage,
    "print-garbage": lambda: garbage(3),
    "flood": lambda: flood((1, 2), 16),
    "endless-answer": endless_answer,
    "close": close_all,
    "raise": lambda: fail(ValueError("no such tensor\nof several lines")),
    "starve": lambda: fail(MemoryError()),
    "eat": eat,
    "kill-runner": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "offer-the-runner": offer_the_runner,
    "mark": lambda: Path("/dev/shm/running").touch(),
    "sleep": lambda: time.sleep(0.02),
}


class Faulty:
    def __init__(self, when, deed):
        self.when, self.deed, self.runs = when, deed, 0
        if when == "load":
            DEEDS[deed]()

    def run(self, names, feeds):
        self.runs += 1
        if (self.when == "run" and self.runs > 1) or self.when == "always":
            DEEDS[self.deed]()
        time.sleep(0.001)
        return []


def opened(model, *arguments, **options):
    with Path(model).open("rb") as stream:
        head = stream.read(80)
    if head.startswith(b"FAULT "):
        return Faulty(*head.decode(errors="replace").split()[1:3])
    word, _, deed = os.environ.get("STAND_IN_FAULTS", "").partition("=")
    if word and word.encode() in Path(model).read_bytes():
        return Faulty(*deed.split())
    if ALONE:
        return Faulty("never", "")
    return REAL(model, *arguments, **options)


ALONE = bool(os.environ.get("STAND_IN_ALONE"))
if ALONE:
    __version__ = "1.22.0"
    InferenceSession = opened
    GraphOptimizationLevel = int

    class SessionOptions:
        def add_session_config_entry(self, key, value):
            pass

else:
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != HERE]
    del sys.modules["onnxruntime"]
    import onnxruntime

    REAL = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = opened
