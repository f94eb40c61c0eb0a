#!/usr/bin/env python3
"""Runs on a board: measures, profiles and runs models for edgeopt, and says who the board is.

One file, Python 3.9 or later, the standard library, and ONNX Runtime or LiteRT. It is started over SSH with
the folder of its files as argument, reads one JSON request per line from stdin and answers each with one
JSON line on stdout: `{"version": 1, "id": 7, "ok": {...}}` or `{..., "error": {"kind", "message"}}`.
It opens no port and ends when stdin does. Models and inputs are files in `FOLDER/objects`, named by SHA-256.

Every measurement runs in fresh child processes. Only one child is ever awake: the others are stopped
(SIGSTOP), so that the spinning threads of one model do not slow down another.

Error kinds: `deadline crash oom load run` are the model's; `request` is the caller's, `io` the board's, and
`lease` says that somebody else has the board now.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import gc
import hashlib
import json
import math
import mmap
import os
import platform
import re
import resource
import select
import shutil
import signal
import stat
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NoReturn

VERSION = 1
IMPORT_S = 120.0
"""What a template may take to import a runtime: no model is at fault."""

OBJECTS_LIMIT_BYTES = 2 << 30
BOOT_ID = "/proc/sys/kernel/random/boot_id"
FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    "/proc/device-tree/compatible",
    "/etc/os-release",
    BOOT_ID,
)
"""Who the board is: sent as they are, the host makes sense of them."""


NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
"""What runtimes say when the kernel refuses them memory."""


BOARDS_ERRNOS = frozenset(
    {
        errno.EIO,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.ENOENT,
        errno.ESTALE,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""What Python says of files that only edgeopt has put there: a disk is full, broken or emptied."""

MODELS_FAULT = frozenset({"deadline", "crash", "oom", "load", "run"})


class Failed(Exception):
    """A request, or the model it speaks of, failed; `kind` tells whose fault it is."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Gone(Exception):
    """Whoever gave orders has closed stdin, or has been silent for longer than a lease lasts."""


class Fenced(Exception):
    """Somebody else has the board now: what is being measured here is worth nothing."""


# ---------------------------------------------------------------- child: one model, one process


def child() -> None:
    """Obey the supervisor's lines until its pipe closes; an empty one asks for a copy that goes on."""
    die_with_parent(supervisor_pid())
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a runtime prints must not get into the answers
    Path("/proc/self/oom_score_adj").write_text("1000")  # if memory ends the model goes, not the board's sshd
    gc.disable()
    state: dict[str, Any] = {"kind": "load"}
    # As little as possible happens from one copy to the next, so that the memory of all of them is the same.
    while first := os.read(0, 1):
        if first == b"\n":
            own = os.getpid()
            pid = os.fork()
            if pid:
                os.write(answers, b'{"ok": {"gone": %d}}\n' % os.waitpid(pid, 0)[1])
            else:
                die_with_parent(own)
            continue
        os.write(answers, obey(state, json.loads(first + rest_of_line())))


def die_with_parent(parent: int) -> None:
    """Never outlive the supervisor, or the process that this one is a copy of."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before it was asked for: no signal will come any more
        os._exit(1)


def supervisor_pid() -> int:
    """Who started this child, as its environment says."""
    return int(os.environ[MARK].split("-")[1])


def rest_of_line() -> bytes:
    """The supervisor writes a line, and waits for the answer."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1 << 16) or b"\n"
    return line


def obey(state: dict[str, Any], request: dict[str, Any]) -> bytes:
    """Do a step, and tell what came of it."""
    try:
        answer = {"ok": STEPS[request.pop("step")](state, **request)}
    except Exception as error:  # a runtime's exceptions share no base class
        starved = isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)
        broken = isinstance(error, OSError) and error.errno in BOARDS_ERRNOS
        kind = "oom" if starved else "io" if broken else state["kind"]
        kind = error.kind if isinstance(error, Failed) else kind
        answer = {"error": {"kind": kind, "message": f"{type(error).__name__}: {error}"[:500]}}
    return json.dumps(answer).encode() + b"\n"


def bare(_state: dict[str, Any], runtime: str) -> dict[str, Any]:
    """Import the runtime and nothing else: what of the memory is not the model's."""
    module = import_module(MODULES[runtime])
    known = getattr(module, "__version__", None) or installed("ai-edge-litert")
    return {runtime: known, "peak_rss_bytes": peak_rss_bytes()}


def load(
    state: dict[str, Any], job: dict[str, Any], started_ns: int, profile: str | None = None
) -> dict[str, Any]:
    """Load a model and run it once."""
    import_module(MODULES[job["runtime"]])
    load_ms = open_session(state, job, profile)
    begun_ns = time.perf_counter_ns()
    state["session"].run(None, state["feeds"])
    done_ns = time.perf_counter_ns()  # one clock for all processes: `started_ns` is the supervisor's
    state["last_ms"] = (done_ns - begun_ns) / 1e6
    state["can_probe"] = can_probe(job["options"])
    if state["can_probe"]:
        loop_cycles()  # the first one takes longer
    return {
        "load_ms": load_ms,
        "first_inference_ms": (done_ns - begun_ns) / 1e6,
        "cold_start_ms": (done_ns - started_ns) / 1e6,
    }


def open_session(state: dict[str, Any], job: dict[str, Any], profile: str | None) -> float:
    """Load a model and the inputs that it will be run with; returns what the model took, in ms."""
    import numpy

    begun_ns = time.perf_counter_ns()
    try:
        session = SESSIONS[job["runtime"]](job["model"], job["options"], profile)
    except Exception:
        if not Path(job["model"]).is_file():
            raise Failed("io", "the model was removed from the board while it was in use") from None
        raise
    load_ms = (time.perf_counter_ns() - begun_ns) / 1e6
    state.update(kind="run", session=session, names=job["names"])
    with numpy.load(job["feeds"], allow_pickle=False) as arrays:
        state["feeds"] = {name: arrays[f"0_{index}"] for index, name in enumerate(job["names"])}
    return load_ms


def onnxruntime_session(model: str, options: dict[str, Any], profile: str | None) -> Any:
    """An ONNX Runtime session."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = options["intra_op_num_threads"]
    settings.inter_op_num_threads = options["inter_op_num_threads"]
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel(
        options["graph_optimization_level"]
    )
    for key, value in options["config"].items():
        settings.add_session_config_entry(key, value)
    if profile:
        settings.enable_profiling, settings.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


class LiteRt:
    """A LiteRT interpreter that is called as an ONNX Runtime session is: inputs copied in, outputs out."""

    def __init__(self, model: str, options: dict[str, Any], profile: str | None) -> None:
        if profile:
            raise ValueError("LiteRT does not tell the times of single operators")
        from ai_edge_litert import interpreter

        kinds = interpreter.OpResolverType
        self.interpreter = interpreter.Interpreter(
            model_path=model,
            num_threads=options["num_threads"] or len(os.sched_getaffinity(0)),
            experimental_op_resolver_type=kinds.AUTO
            if options["xnnpack"]
            else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self.interpreter.allocate_tensors()
        self.inputs = {known["name"]: known["index"] for known in self.interpreter.get_input_details()}
        self.outputs = [known["index"] for known in self.interpreter.get_output_details()]

    def run(self, _names: None, feeds: dict[str, Any]) -> list[Any]:
        for name, value in feeds.items():
            self.interpreter.set_tensor(self.inputs[name], value)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


MODULES = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert.interpreter"}
SESSIONS: dict[str, Callable[..., Any]] = {"onnxruntime": onnxruntime_session, "litert": LiteRt}
"""How a runtime loads a model; each gives something with `run(None, feeds)`."""


def warm_up(state: dict[str, Any], most_s: float) -> None:
    """Run until a batch is not 2 % faster than the best before it, or for `most_s`.

    Whether two batches agree is not asked: on a machine with other work they hardly ever do.
    """
    end, best = time.perf_counter() + most_s, math.inf
    while time.perf_counter() < end:
        now = statistics.median(take(state, 0.05)["latencies_ms"])
        if now > 0.98 * best:
            return
        best = now


def take(
    state: dict[str, Any], seconds: float, rate_hz: float | None = None, probed: bool = False
) -> dict[str, Any]:
    """Time inferences for `seconds`, at least one.

    The first of a turn is not counted: others have used the caches. One that fills the turn does not care.

    `rate_hz`: how many are asked for per second, evenly; one that is late is timed from when it was due.
    `probed`: the turn consists of `segments` of so many inferences, with a probe of the core before the
    first and after each, where one can be taken; it delays no inference that is due. Probes belong neither to
    the latencies nor to the CPU and wall time.
    """
    run, feeds, clock = state["session"].run, state["feeds"], time.perf_counter_ns
    if state["last_ms"] < seconds * 1e3:
        run(None, feeds)
    latencies: list[float] = []
    segments: list[int] = []
    probed = probed and state["can_probe"]
    asked = clock()
    probes = [loop_cycles()] if probed else []
    longest_ns = clock() - asked
    apart_ns = max(SEGMENT_NS, LEAST_APART * longest_ns)
    before_cpu, begun = time.process_time(), clock()
    now, end = begun, begun + int(seconds * 1e9)
    due, period = begun, int(1e9 / rate_hz) if rate_hz else 0
    next_probe, probing_ns = begun + apart_ns, 0
    while now < end:
        before = clock()
        if period:
            if before < due:
                time.sleep((due - before) / 1e9)
                before = clock()  # who only slept too long was not kept waiting by the model
            else:
                before = due
            due += period
        run(None, feeds)
        now = clock()
        latencies.append((now - before) / 1e6)
        if probed and now >= next_probe and (not period or due - now > 2 * longest_ns):
            probes.append(loop_cycles())
            segments.append(len(latencies) - sum(segments))
            took_ns = clock() - now
            now, end, probing_ns = now + took_ns, end + took_ns, probing_ns + took_ns
            next_probe = now + apart_ns
    cpu_s, wall_s = time.process_time() - before_cpu, (now - begun) / 1e9
    state["last_ms"] = latencies[-1]
    if rest := len(latencies) - sum(segments):
        segments.append(rest)
        probes += [loop_cycles()] if probed else []
    return {
        "latencies_ms": latencies,
        "segments": segments,
        "probes": probes,
        "cpu_s": max(0.0, cpu_s - probing_ns / 1e9),
        "wall_s": wall_s - probing_ns / 1e9,
        "peak_rss_bytes": peak_rss_bytes(),
        "span_s": (begun / 1e9, now / 1e9),
    }


SEGMENT_NS, LEAST_APART = 50_000_000, 60
"""Between two probes: so long, and so many times what one takes, which is 1.7 % at most."""

LOOP, LOOP_ADDS, LOOP_PARTS = 500, 50, 9
"""Iterations and rounds of additions of one part of a probe, and parts: 0.2 ms at 3.6 GHz."""


def loop_cycles() -> tuple[str, float]:
    """The kind of the core that this runs on, and how many of its clock cycles an iteration of an interpreted
    loop takes there: more while somebody else uses the units of the same core.

    Additions that wait for each other do not notice anybody: they tell what a cycle is at this moment,
    whatever the clock. Both are taken in turns, and their medians do not feel an interrupt.
    """
    add, clock = additions(), time.perf_counter_ns
    if not add:
        raise AssertionError("`can_probe` has not been asked")
    looped, added = [], []
    for _ in range(LOOP_PARTS):
        begun = clock()
        add(LOOP_ADDS)
        between = clock()
        total = 0
        for number in range(LOOP):
            total += number
        looped.append(clock() - between)
        added.append(between - begun)
    cycle_ns = statistics.median(added) / (LOOP_ADDS * SPIN_ADDS)
    return core_kind(), round(statistics.median(looped) / LOOP / cycle_ns, 2)


def core_kind() -> str:
    """Cores of one kind execute alike: by their identification register and their highest clock."""
    return kind_of(LIBC.sched_getcpu())


@functools.cache
def kind_of(core: int) -> str:
    """See `core_kind`."""
    midr = read(f"/sys/devices/system/cpu/cpu{core}/regs/identification/midr_el1")
    return f"{midr or platform.machine()} {core_hz(core, 'cpuinfo_max_freq') or 'unknown clock'}"


LIBC = ctypes.CDLL(None)


def can_probe(options: dict[str, Any]) -> bool:
    """Whether a probe says what others do: not where the model's own threads may spin on the same core."""
    threads = options.get("intra_op_num_threads", options.get("num_threads"))
    return additions() is not None and (threads == 1 or not shows_siblings())


@functools.cache
def shows_siblings() -> bool:
    """Whether the kernel runs several hardware threads of one core; to a guest, the host may hide that."""
    shown = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
    return any(re.search("[,-]", read(str(path)) or "") for path in shown)


def node_times(state: dict[str, Any], runs: int) -> dict[str, float]:
    """Mean ms of each node over `runs` inferences after a few, from the runtime's own trace."""
    warm = max(3, runs // 5)
    for _ in range(warm - 1 + runs):  # `load` has run once
        state["session"].run(None, state["feeds"])
    events = json.loads(Path(state["session"].end_profiling()).read_bytes())
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    totals: dict[str, float] = {}
    for event in events:
        name, suffix, _ = event.get("name", "").rpartition("_kernel_time")
        if suffix and event.get("cat") == "Node" and event["ts"] >= starts[warm]:
            totals[name] = totals.get(name, 0.0) + event["dur"] / 1e3
    return {name: total / runs for name, total in totals.items()}


@functools.cache
def markers() -> dict[str, Callable[[], None]]:
    """`start`, `again` and `stop`, which tell an emulator to count what runs between them.

    They are functions of one hint instruction each, which does nothing on a real arm64 core.
    """
    calls = {"start": 0xD5032E1F, "again": 0xD5032E5F, "stop": 0xD5032E3F}  # hint #0x70, #0x72, #0x71
    address = executable(b"".join(struct.pack("<II", hint, 0xD65F03C0) for hint in calls.values()))  # `ret`
    return {name: ctypes.CFUNCTYPE(None)(address + 8 * at) for at, name in enumerate(calls)}


def executable(code: bytes) -> int:
    """Address of a page that holds some machine code, which nobody can change any more."""
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    # Written first and made executable then: the kernel thereby brings the instruction cache up to date.
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
        raise Failed("request", "this system lets nobody make code")
    PAGES.append(page)  # for as long as anybody may call what lies in it
    return address


PAGES: list[mmap.mmap] = []


def count(
    state: dict[str, Any], job: dict[str, Any], cache_runs: int | None, profile: str | None
) -> dict[str, Any]:
    """Load a model, and run it once between the markers, after `cache_runs` that only fill the caches.

    Of a new session the first run is not counted, for it allocates memory; `cache_runs` of None counts it.

    All in one step: nothing that takes a different time each time is put into words, and thereby into memory,
    before the end.

    `events`: of a session that profiles, category, name, begin and duration in us of what the runtime timed
    in that inference, in the order in which it ended; else empty.
    """
    marker = markers()
    open_session(state, job, profile)
    run, feeds = state["session"].run, state["feeds"]
    start, again, stop = marker["start"], marker["again"], marker["stop"]
    if cache_runs is not None:
        run(None, feeds)
    start()
    for _ in range(cache_runs or 0):
        run(None, feeds)
    again()
    run(None, feeds)
    stop()
    events = json.loads(Path(state["session"].end_profiling()).read_bytes()) if profile else []
    begun = max((event["ts"] for event in events if event.get("name") == "model_run"), default=0)
    return {
        "starts": 1,
        "peak_rss_bytes": peak_rss_bytes(),
        "events": [
            [event["cat"], event["name"], event["ts"], event["dur"]]
            for event in events
            if event.get("ph") == "X" and event["ts"] >= begun
        ],
    }


def leave(_state: dict[str, Any]) -> NoReturn:
    """The copy is not needed any more; the original answers."""
    os._exit(0)


def outputs(state: dict[str, Any], samples: str, target: str) -> None:
    """Run every sample of an `.npz` whose arrays are named `SAMPLE_INPUT`; outputs go to `SAMPLE_OUTPUT`."""
    import numpy

    results: dict[str, Any] = {}
    with numpy.load(samples, allow_pickle=False) as arrays:
        for sample in sorted({int(key.split("_")[0]) for key in arrays.files}):
            feeds = {name: arrays[f"{sample}_{index}"] for index, name in enumerate(state["names"])}
            for index, value in enumerate(state["session"].run(None, feeds)):
                array = numpy.asarray(value)
                results[f"{sample}_{index}"] = array.astype(str) if array.dtype == object else array
    numpy.savez(target, **results)


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step for step in (bare, load, warm_up, take, node_times, count, leave, outputs)
}


def peak_rss_bytes() -> int:
    """VmHWM of this process: unlike `ru_maxrss` it does not remember the parent's size."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024


# ---------------------------------------------------------------- meter: power, read beside the models

BURN_BYTES = 1 << 16
METER_S = 15.0
"""What a meter may take to be found and to answer."""


def sampling() -> None:
    """Read a meter at its pace until stdin closes, then tell all readings at once: nothing is written before.

    The order is a line of stdin: the source of the meter's `reader`, its settings, and the pace. The first
    line of the answer is the meter's header, or why there is none; the second holds `[time, text]` of each
    reading, time on CLOCK_MONOTONIC, and the CPU time that reading took.
    """
    die_with_parent(supervisor_pid())
    order = json.loads(rest_of_line())
    names: dict[str, Any] = {}
    try:
        exec(order["source"], names)  # noqa: S102 - whoever may send it may run commands here anyway
        header, look = names["reader"](order["settings"])
    except Exception as error:  # whatever a meter's reader raises
        os.write(1, json.dumps({"error": str(error)[:500]}).encode() + b"\n")
        return
    os.write(1, json.dumps({"header": header}).encode() + b"\n")
    readings: list[tuple[float, str]] = []
    due, over = time.perf_counter(), False
    while not over:
        due = max(due + order["interval_s"], time.perf_counter())  # what was missed is not caught up with
        over = bool(select.select([0], [], [], max(0.0, due - time.perf_counter()))[0])
        before = time.perf_counter()
        try:
            text = look()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            text = str(error)  # a reading that failed is not a number, and is left out where they are parsed
        readings.append(((before + time.perf_counter()) / 2, text))
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    with os.fdopen(1, "w") as stream:
        stream.write(json.dumps({"readings": readings, "cpu_s": cpu_s}) + "\n")


class Sampler:
    """A process that reads a meter; it ends with `stop`, or with this one."""

    alive: ClassVar[list[Sampler]] = []

    def __init__(self, meter: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--sample"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, MARK: own_mark()},
        )
        if not self.process.stdin or not self.process.stdout:
            raise AssertionError("both were asked to be pipes")
        Sampler.alive.append(self)
        Child.unburied.add(self.process.pid)
        self.process.stdin.write(json.dumps(meter).encode() + b"\n")
        self.first, output = b"", self.process.stdout.fileno()
        end = time.monotonic() + METER_S
        while not self.first.endswith(b"\n"):
            left_s = max(0.0, end - time.monotonic())
            data = os.read(output, 1 << 16) if select.select([output], [], [], left_s)[0] else b""
            self.first += data or b'{"error": "it does not answer"}\n'

    def stop(self) -> dict[str, Any]:
        """What was read: `header`, `readings`, `cpu_s`; or `error`."""
        try:
            told = dict(json.loads(self.first))
            said = self.process.communicate(timeout=METER_S)[0]
            return told if "error" in told else {**told, **json.loads(said)}
        except (subprocess.TimeoutExpired, ValueError):
            return {"error": "its readings were lost: the process that took them died or hung"}
        finally:
            self.process.kill()
            self.process.communicate()
            Sampler.alive.remove(self)
            Child.unburied.discard(self.process.pid)


def cpu_s(sampler: Sampler) -> float:
    """What a process that still runs, and those that it has waited for, took of all cores: it is our own."""
    stat = read(f"/proc/{sampler.process.pid}/stat") or ""
    ticks = stat.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def exercise(pattern: list[float]) -> dict[str, Any]:
    """Stay idle and load all cores in turns of these seconds, beginning idle; tells when.

    Steps of power that are known to the millisecond: by them the clock of a meter is laid on the board's.
    """
    due = begun = time.perf_counter()
    loads: list[tuple[float, float]] = []
    for index, seconds in enumerate(pattern):
        due += seconds
        if index % 2:
            loads.append(burn(due))
        else:
            time.sleep(max(0.0, due - time.perf_counter()))
    return {"begun_s": begun, "ended_s": time.perf_counter(), "loads": loads}


def burn(end: float) -> tuple[float, float]:
    """Hash on all cores, which needs no lock of the interpreter, until `end`; tells from when to when."""
    block, spans = bytes(BURN_BYTES), []

    def hashing() -> None:
        begun = time.perf_counter()
        while time.perf_counter() < end:
            hashlib.sha256(block)
        spans.append((begun, time.perf_counter()))

    threads = [threading.Thread(target=hashing) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return min(span[0] for span in spans), max(span[1] for span in spans)


@contextlib.contextmanager
def metered(meter: dict[str, Any] | None, edges: list[list[float]] | None) -> Iterator[dict[str, Any]]:
    """What happens inside is metered; what was read is in the yielded answer in the end.

    The process that reads is reaped before this ends, so its CPU time counts as the runner's own.
    """
    told: dict[str, Any] = {}
    sampler = Sampler(meter) if meter else None
    try:
        if sampler and "header" not in json.loads(sampler.first):
            edges = None  # nobody would see them
        marks = [exercise(edges[0])] if edges else []
        yield told
        marks += [exercise(edges[1])] if edges else []
        told["edges"] = marks
    finally:
        if sampler:
            told["meter"] = sampler.stop()
        told["now_s"] = time.perf_counter()


# ---------------------------------------------------------------- lease


def boottime_s() -> float:
    """Seconds since boot: the same for all processes, and nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def shared_folder() -> Path:
    """A folder that every user of the board sees and that is the same for each: `/run/lock`, else `/tmp`.

    `EDGEOPT_LEASE_DIR` says otherwise, for containers that share neither.
    """
    if named := os.environ.get("EDGEOPT_LEASE_DIR"):
        if not Path(named).is_dir():
            raise Failed("io", f"EDGEOPT_LEASE_DIR names {named}, and there is no such folder")
        return Path(named)
    for folder in (Path("/run/lock"), Path("/tmp")):  # noqa: S108 - made to be shared; see Lease.open
        with contextlib.suppress(OSError):
            mode = folder.stat().st_mode
            if mode & stat.S_ISVTX and mode & stat.S_IWOTH:
                return folder
    raise Failed("io", "there is no folder that all users share: neither /run/lock nor /tmp")


class Lease:
    """Who may measure on this board, of all users and machines: one record in one file, `edgeopt.lease`.

    Byte 0 of the file is locked while the record is read or written. Byte `token` is locked by the runner
    of whoever has the board, so that its death, however it dies, frees the board. Tokens only grow. A runner
    that hears no heartbeat for `ttl_s` ends by itself; one that cannot even do that loses the board after
    twice that time.

    It keeps honest users apart: whoever may log in can also write the file.
    """

    SIZE = 4096

    def __init__(self) -> None:
        self.file: int | None = None
        self.token, self.ttl_s, self.heard_s, self.lost = 0, float("inf"), boottime_s(), ""

    def left_s(self) -> float:
        """How much longer a holder that says nothing counts as there."""
        return float("inf") if not self.token else self.heard_s + self.ttl_s - boottime_s()

    def take(self, owner: str, command: str, pid: int, nonce: str, ttl_s: float) -> dict[str, Any]:
        """`{"token": n, "former": …}`, or `{"held": …}` where somebody else has the board or has reserved it.

        `former` is how the runner ended that the same command had here before; see `end_of_former`.

        Args:
            owner: `user@host`; a reservation lets its owner through.
            nonce: Of the command that asks: it gets back what it had before its connection broke.
            ttl_s: After so long without a heartbeat it has gone.
        """

        def change(record: dict[str, Any]) -> dict[str, Any]:
            holder, reserved = self.holder(record), self.reserved(record)
            former = self.end_of_former(record["holder"], nonce)
            if holder and holder["nonce"] == nonce and self.end_former(holder):
                holder = None
            if holder or (reserved and reserved["owner"] != owner):
                return {"held": described(holder or reserved)}
            now = boottime_s()
            self.token = record["token"] = max(record["token"] + 1, int(now * 1000))
            self.lock(self.token)
            self.ttl_s, self.heard_s = ttl_s, now
            self.lost = ""
            record["holder"] = {
                "owner": owner[:200], "command": command[:500], "pid": pid, "nonce": nonce,
                "token": self.token, "since_s": now, "beat_s": now, "ttl_s": ttl_s, "runner": own_mark(),
                "removed_by": None,
            }  # fmt: skip
            return {"token": self.token, "former": former}

        return dict(self.alter(change))

    def end_of_former(self, holder: dict[str, Any] | None, nonce: str) -> str | None:
        """What became of the runner that the same command had before its connection broke.

        `alive` until now, `ended` with its orders, or `died`: something here has killed it. None: there was
        none, or its record is gone.
        """
        if holder is None or holder["nonce"] != nonce or holder["token"] == self.token:
            return None
        if holder.get("has_ended"):
            return "ended"
        return "alive" if self.is_locked(holder["token"]) else "died"

    def sign_off(self) -> None:
        """This runner ends because its orders do: who comes back learns that nothing has killed it."""

        def change(record: dict[str, Any]) -> None:
            holder = record["holder"]
            if holder and holder["token"] == self.token:
                holder["has_ended"] = True

        if self.token:
            with contextlib.suppress(Failed, OSError):
                self.alter(change)

    def require(self, token: int | None) -> None:
        """Raise Fenced unless the board is ours by this token, or, asked for without one, nobody's."""
        if not self.lost:
            self.lost = str(self.alter(self.obstacle) or "")
        if self.lost:
            raise Fenced(self.lost)
        if token is not None and token != self.token:
            raise Fenced(f"token {token} is not that of this connection")

    def obstacle(self, record: dict[str, Any]) -> str | None:
        """Why the board is not ours (any more); None if it is, or we have not taken it and nobody has."""
        holder = record["holder"] if self.token else self.holder(record)
        if holder is None:
            return "nobody has it any more" if self.token else None
        if holder["token"] != self.token:
            return f"{holder['owner']} has it now"
        return f"{holder['removed_by']} has taken it away" if holder["removed_by"] else None

    def beat(self) -> None:
        """Whoever gives orders is still there."""
        if not self.token or self.lost:
            return
        self.heard_s = boottime_s()

        def change(record: dict[str, Any]) -> str | None:
            if (obstacle := self.obstacle(record)) is None:
                record["holder"]["beat_s"] = self.heard_s
            return obstacle

        with contextlib.suppress(Failed, OSError):  # the next one will do
            self.lost = str(self.alter(change) or "")

    def settle(self) -> None:
        """Let go of a board that has been taken away; called when nothing of ours runs there any more."""
        if self.lost and self.token and self.file is not None:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, self.token)

    def who(self) -> dict[str, Any]:
        def look(record: dict[str, Any]) -> dict[str, Any]:
            return {
                "holder": described(self.holder(record)),
                "reserved": described(self.reserved(record)),
            }

        return dict(self.alter(look))

    def reserve(self, owner: str, why: str, for_s: float) -> dict[str, Any]:
        def change(record: dict[str, Any]) -> dict[str, Any]:
            for other in (self.holder(record), self.reserved(record)):
                if other and other["owner"] != owner:
                    return {"held": described(other)}
            now = boottime_s()
            own = {"owner": owner[:200], "why": why[:500], "since_s": now, "until_s": now + for_s}
            record["reserved"] = own
            return {"reserved": described(own)}

        return dict(self.alter(change))

    def release(self, owner: str, force: bool) -> dict[str, Any]:
        """`{"freed": […]}`, or `{"held": …}` where it is another's, or in use, and no force is asked for."""

        def change(record: dict[str, Any]) -> dict[str, Any]:
            holder, reserved = self.holder(record), self.reserved(record)
            if not force and reserved and reserved["owner"] != owner:
                return {"held": described(reserved)}
            if not force and holder and not reserved:
                return {"held": described(holder)}
            record["reserved"] = None
            freed = [reserved] if reserved else []
            if force and holder:
                holder["removed_by"] = owner[:200]
                freed.append(holder)
            return {"freed": [described(one) for one in freed]}

        return dict(self.alter(change))

    def holder(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Who has the board and is still there."""
        found: dict[str, Any] | None = record["holder"]
        if found is None or boottime_s() - found["beat_s"] > 2 * found["ttl_s"]:
            return None
        return found if found["token"] == self.token or self.is_locked(found["token"]) else None

    def reserved(self, record: dict[str, Any]) -> dict[str, Any] | None:
        found: dict[str, Any] | None = record["reserved"]
        return found if found and found["until_s"] > boottime_s() else None

    def end_former(self, holder: dict[str, Any]) -> bool:
        """End the runner that the same command has left on the board when its connection broke."""
        boot, pid, _ = holder["runner"].split("-")
        if holder["token"] == self.token:
            return True
        is_here = boot == own_mark().split("-")[0]
        if is_here and is_alive(holder["runner"]):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        end = boottime_s() + 10.0
        while self.is_locked(holder["token"]) or (is_here and is_alive(holder["runner"])):
            if boottime_s() > end:
                return False
            time.sleep(0.02)
        return True

    def alter(self, change: Callable[[dict[str, Any]], Any]) -> Any:
        """Read the record, let `change` change it, write it; alone."""
        self.file = self.open() if self.file is None else self.file
        self.lock(0)
        try:
            record = self.parsed(os.pread(self.file, self.SIZE, 0))
            before = json.dumps(record)
            answer = change(record)
            after = json.dumps(record)
            if after != before:
                os.pwrite(self.file, after.encode().ljust(self.SIZE), 0)
            return answer
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, 0)

    def parsed(self, text: bytes) -> dict[str, Any]:
        """The record; a fresh one if there is none, or it is of another boot, or damaged."""
        fresh = {"boot": read(BOOT_ID), "token": 0, "holder": None, "reserved": None}
        with contextlib.suppress(ValueError, TypeError, KeyError):
            found = json.loads(text)
            parts = [found["holder"], found["reserved"]]
            whole = isinstance(found["token"], int) and all(isinstance(one or {}, dict) for one in parts)
            if found["boot"] == fresh["boot"] and whole:
                return dict(found)
        return fresh

    def lock(self, byte: int) -> None:
        end = boottime_s() + 10.0
        while not self.try_lock(byte):
            if boottime_s() > end:
                raise Failed("io", f"{shared_folder() / 'edgeopt.lease'} has been locked for 10 s")
            time.sleep(0.01)

    def is_locked(self, byte: int) -> bool:
        """Whether another process locks it."""
        if self.try_lock(byte) and self.file is not None:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, byte)
            return False
        return True

    def try_lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.file or 0, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def open(self) -> int:
        return shared_file("edgeopt.lease", self.SIZE)


def shared_file(name: str, most_bytes: int) -> int:
    """Open a file that all users of the board share, whoever made it. It is in a folder where anybody may put
    anything: links are refused, and what is larger than edgeopt makes it."""
    path, flags = shared_folder() / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(100):
        try:  # the kernel may refuse O_CREAT for a file of somebody else (fs.protected_regular)
            file = os.open(path, flags)
        except FileNotFoundError:
            mask = os.umask(0)
            try:
                file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            finally:
                os.umask(mask)
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size <= most_bytes:
            return file
        os.close(file)
        break
    raise Failed("io", f"{path} is not what edgeopt makes: remove it")


POLL_S = 0.5


def described(one: dict[str, Any] | None) -> dict[str, Any] | None:
    """What others are told of a holder or a reservation, with times relative to now."""
    if one is None:
        return None
    now = boottime_s()
    told = {key: one.get(key) for key in ("owner", "command", "pid", "why", "removed_by")}
    told["for_s"] = now - one["since_s"]
    told["silent_s"] = now - one["beat_s"] if "beat_s" in one else None
    told["left_s"] = one["until_s"] - now if "until_s" in one else None
    return told


# ---------------------------------------------------------------- supervisor


class Orders:
    """Requests, one per line of stdin; notices its end even while a child is at work.

    An empty line is a heartbeat: it only says that whoever gives orders is still there, and is sent back.
    """

    def __init__(self, lease: Lease, echo: Callable[[bytes], object] = lambda _: None) -> None:
        self.buffer, self.lease, self.echo, self.is_busy = b"", lease, echo, False

    def pull(self) -> None:
        """Take what has come; raises Gone at the end, Fenced if a request is being served in vain."""
        data = os.read(0, 1 << 16)
        if not data:
            raise Gone
        self.buffer += data
        self.answer_beats()
        self.lease.beat()
        if self.lease.lost and self.is_busy:
            raise Fenced(self.lease.lost)

    def answer_beats(self) -> None:
        """Send heartbeats back; raises Gone where nobody reads that."""
        if self.buffer.startswith(b"\n"):
            self.buffer = self.buffer.lstrip(b"\n")
            try:
                self.echo(b"\n")
            except OSError:  # of our own stdout: whoever talks to a child must not take it for the child's
                raise Gone from None

    def wait(self, *others: int, most_s: float | None = None) -> list[int]:
        """Wait for stdin or one of these descriptors to become readable; returns those that are."""
        left_s = self.lease.left_s()
        until_s = left_s if most_s is None else min(left_s, most_s)
        until = None if until_s == float("inf") else max(0.0, until_s)
        ready = select.select([0, *others], [], [], until)[0]
        if self.lease.left_s() <= 0 and 0 not in ready:
            raise Gone
        return ready

    def next(self) -> dict[str, Any]:
        self.is_busy = False
        self.lease.settle()
        self.answer_beats()  # that came together with the last request
        while b"\n" not in self.buffer:
            self.wait()
            self.pull()
            self.lease.settle()
        self.is_busy = True
        line, _, self.buffer = self.buffer.partition(b"\n")
        return dict(json.loads(line))


class Child:
    """A fresh process, and whatever it starts: all of it goes when it ends. Its own time is bounded; the time
    in which it is stopped does not count."""

    alive: ClassVar[list[Child]] = []
    unburied: ClassVar[set[int]] = set()

    def __init__(
        self,
        orders: Orders,
        allowance_s: float,
        repeatable: bool = False,
        cpus: list[int] | None = None,
        keeps: tuple[int, ...] = (),
    ) -> None:
        """`repeatable`: it executes the same instructions at the same addresses every time.

        `keeps`: descriptors that it and its copies have open, too.
        """
        self.orders, self.left_s, self.kills = orders, allowance_s, oom_kills()
        self.repeatable, self.said, self.is_mute = repeatable, b"", False
        self.started_ns = time.perf_counter_ns()
        env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", MARK: own_mark()}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--child"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**env, "PYTHONHASHSEED": "0"} if repeatable else env,
            preexec_fn=fixed_addresses if repeatable else None,
            pass_fds=keeps,
            start_new_session=True,
        )
        if cpus:
            pin(self.process, cpus)
        Child.alive.append(self)
        Child.unburied.add(self.process.pid)
        if not self.process.stdin or not self.process.stdout or not self.process.stderr:
            raise AssertionError("all of them were asked to be pipes")
        self.stdin, self.stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.errors = self.process.stderr
        os.set_blocking(self.errors.fileno(), False)
        self.death = pidfd(self.process.pid)
        self.forked = False

    def ask(self, step: str, **arguments: Any) -> Any:
        """One step, at the end of which the process is stopped; raises Failed where the model is at fault."""
        begun, line = time.monotonic(), bytearray()
        try:
            self.signal(signal.SIGCONT)
            os.write(self.stdin, json.dumps({"step": step, **arguments}).encode() + b"\n")
            while not line.endswith(b"\n"):
                line += self.heard(self.left_s - (time.monotonic() - begun))
                if len(line) > LONGEST_ANSWER_BYTES:
                    raise Failed("crash", "said more than anybody asked for")
        except BrokenPipeError:
            raise self.epitaph() from None
        self.left_s -= time.monotonic() - begun
        self.signal(signal.SIGSTOP)
        try:
            answer = dict(json.loads(line.split(b"\n")[0]))
        except ValueError:
            raise Failed("crash", f"answered nonsense: {bytes(line[:80])!r}") from None
        if "error" in answer:
            raise Failed(answer["error"]["kind"], answer["error"]["message"])
        if self.forked and "gone" in (answer["ok"] or {}):
            self.forked = False
            status = os.waitstatus_to_exitcode(answer["ok"]["gone"])
            if step != "leave" or status:
                failure = self.epitaph(status)
                self.end()  # nobody knows which of the two has read the request
                raise failure
        return answer["ok"]

    def heard(self, left_s: float) -> bytes:
        """Some bytes of its answer, maybe none yet; raises if it has died or its time is over."""
        watched = [self.stdout, *([] if self.is_mute else [self.errors.fileno()])]
        watched += [] if self.death is None else [self.death]
        ready = self.orders.wait(*watched, most_s=left_s if self.death is not None else min(left_s, 1.0))
        if 0 in ready:
            self.orders.pull()
        if self.errors.fileno() in ready:
            self.listen()
        if self.stdout in ready:
            data = os.read(self.stdout, 1 << 16)
            if not data and not self.dies_within(1.0):
                raise Failed("crash", "closed the pipe of its answers")
            if not data:
                raise self.epitaph()
            return data
        if self.death in ready or (self.death is None and self.is_dead()):
            raise self.epitaph()
        if left_s <= 0:
            raise Failed("deadline", "passed its deadline and was killed")
        return b""

    def listen(self) -> None:
        """Keep the end of what it says besides its answers: it may say it without end."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.errors.fileno(), 1 << 16)
            self.said, self.is_mute = (self.said + data)[-4096:], not data

    def signal(self, number: int) -> None:
        """To the process and to what it has started; the copies of a repeatable one stop by themselves."""
        with contextlib.suppress(ProcessLookupError):
            (os.kill if self.repeatable else os.killpg)(self.process.pid, number)

    def dies_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self.is_dead():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def is_dead(self) -> bool:
        return bool(os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))

    def fork(self, allowance_s: float) -> None:
        """From here to `rejoin` a copy of the process does what is asked, and may die of it."""
        self.left_s, self.kills = allowance_s, oom_kills()
        self.listen()
        self.said, self.forked = b"", True
        os.write(self.stdin, b"\n")

    def rejoin(self) -> None:
        """The copy goes; if it cannot, the whole process does."""
        try:
            if self.forked:
                self.left_s = 10.0
                self.ask("leave")
        except Failed:
            self.end()

    def epitaph(self, status: int | None = None) -> Failed:
        """Why the process died on its own, or its copy with `status`."""
        status = self.bury() if status is None else status
        if status > 0 and not Path(__file__).is_file():
            return Failed("io", f"{Path(__file__).name} has been removed while it was in use: begin anew")
        if status == -signal.SIGKILL and oom_kills() > self.kills:
            return Failed("oom", "was killed by the kernel: out of memory")
        self.listen()
        lines = self.said.decode(errors="replace").strip().splitlines()
        said = [line for line in lines if not line.startswith("INFO: ")][-1:]  # LiteRT greets there
        how = f"died of {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
        return Failed("crash", ": ".join([how, *said])[:500])

    def bury(self) -> int:
        """Wait for the end of the process, and end what it has started; returns its status."""
        if self.process.returncode is None:
            # Its number, which is also its group's, belongs to nobody else until it has been waited for.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return self.process.returncode

    def end(self) -> None:
        if self in Child.alive:
            Child.alive.remove(self)
        self.forked = False
        if not self.errors.closed:
            self.process.kill()
            self.bury()
            Child.unburied.discard(self.process.pid)
            for stream in (self.process.stdin, self.process.stdout, self.errors):
                if stream:
                    stream.close()
            if self.death is not None:
                os.close(self.death)
            bury_orphans()


LONGEST_ANSWER_BYTES = 64 << 20
MARK = "EDGEOPT_RUNNER"
"""Environment variable by which what a killed runner has left is found."""


@functools.cache
def own_mark() -> str:
    """This process on this boot; always of the same length, for a child's stack begins below it."""
    return mark(os.getpid(), started_ticks(os.getpid()) or 0)


def mark(pid: int, ticks: int) -> str:
    """How a runner is called that began at this time on this boot."""
    return f"{(read(BOOT_ID) or '')[:8]:0>8}-{pid:010d}-{ticks:015d}"


def is_alive(marked: str) -> bool:
    """Whether the runner that a mark speaks of may still be there; of another boot, nobody knows."""
    boot, pid, ticks = marked.split("-")
    if boot != own_mark().split("-")[0]:
        return True
    return started_ticks(int(pid)) == int(ticks)


def started_ticks(pid: int) -> int | None:
    """When a process began; None if it has ended."""
    words = (read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return int(words[19]) if words and words[0] != "Z" else None


def pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when a process dies; None before Linux 5.3."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def adopt_orphans() -> None:
    """Become the parent of whoever loses its own, so that nobody can slip away by forking twice."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def bury_orphans() -> None:
    """End what models have left behind; each one that ends may leave others."""
    while orphans := [pid for pid in children() if pid not in Child.unburied]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def children() -> list[int]:
    """Processes whose parent this is."""
    listed = read("/proc/thread-self/children")
    if listed is not None:
        return [int(pid) for pid in listed.split()]
    stats = ((path.parent.name, read(str(path)) or "") for path in Path("/proc").glob("[0-9]*/stat"))
    return [int(pid) for pid, text in stats if text.rpartition(")")[2].split()[1:2] == [str(os.getpid())]]


def sweep(folder: Path) -> None:
    """End and remove what runners have left that were killed."""
    own_namespace = Path("/proc/self/ns/pid").readlink()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError):  # another user's, or gone meanwhile
            if (environment.parent / "ns" / "pid").readlink() != own_namespace:
                continue  # a container's, where numbers mean something else
            found = re.search(rb"(?:^|\0)" + MARK.encode() + rb"=([0-9a-f-]+)", environment.read_bytes())
            if found and not is_alive(found[1].decode()):
                os.kill(int(environment.parent.name), signal.SIGKILL)
    for path in folder.glob("*"):
        with contextlib.suppress(OSError, ValueError):
            # A home may be shared: what another boot calls dead may live on another board.
            if not is_alive(path.name) or time.time() - path.stat().st_mtime > OLD_S:
                shutil.rmtree(path)


OLD_S = 86400.0


def fixed_addresses() -> None:
    """Stack, heap and libraries of what this process becomes are not moved about at random."""
    ctypes.CDLL(None).personality(0x0040000)  # ADDR_NO_RANDOMIZE


# ---------------------------------------------------------------- conditions: warm, loaded, pinned

STEADY_C, STEADY_S, MOST_SOAK_S = 1.0, 60.0, 900.0
"""A board is heat-soaked when its temperature has moved by less than 1 C in a minute, or after 15 minutes."""
HOT_S = 20.0
"""Who was idle for less than this is soaked again for twice as long as it was idle."""


def pin(process: subprocess.Popen[bytes], cpus: list[int]) -> None:
    """Keep a process on some cores: before it has imported anything, so whatever it starts is there, too."""
    try:
        os.sched_setaffinity(process.pid, cpus)
    except (OSError, ValueError) as error:
        process.kill()
        raise Failed("request", f"this board lets nobody be pinned to the cores {cpus}: {error}") from None


class OtherWork:
    """Processes that keep each core busy for a share of the time."""

    PERIOD_S = 0.02

    def __init__(self, share: float) -> None:
        self.pids: list[int] = []
        try:
            for cpu in sorted(os.sched_getaffinity(0)) if share else ():
                self.pids.append(self.busy(cpu, share))
        except OSError:
            self.end()
            raise

    def busy(self, cpu: int, share: float) -> int:
        own = os.getpid()
        pid = os.fork()
        if pid:
            Child.unburied.add(pid)
            return pid
        try:  # whatever happens, this copy must never go on as a supervisor
            die_with_parent(own)
            os.sched_setaffinity(0, [cpu])
            while True:
                begun = time.perf_counter()
                while time.perf_counter() - begun < share * self.PERIOD_S:
                    pass
                time.sleep(max(0.0, begun + self.PERIOD_S - time.perf_counter()))
        finally:
            os._exit(1)

    def end(self) -> int:
        """Returns how many of them were there to the end."""
        lasted = 0
        for pid in self.pids:
            lasted += os.waitpid(pid, os.WNOHANG)[0] == 0 and self.killed(pid)
            Child.unburied.discard(pid)
        self.pids = []
        return lasted

    @staticmethod
    def killed(pid: int) -> bool:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return True


def soak(race: Race, idle_s: float | None) -> dict[str, Any]:
    """Run the first model until the board is as warm as it will get; `idle_s`: since it last was, or None.

    Temperatures in C, about two seconds apart; without a sensor the whole time is taken.
    """
    begun, seen = time.monotonic(), [(0.0, temperature_c())]
    least_s = 2 * idle_s if idle_s is not None and idle_s < HOT_S else None
    worker = Child(race.orders, race.protocol["deadline_s"] + MOST_SOAK_S, cpus=race.cpus)
    try:
        worker.ask("load", job=race.jobs[0], started_ns=worker.started_ns)
        while True:
            worker.ask("take", seconds=2.0)
            now_s, now_c = time.monotonic() - begun, temperature_c()
            seen.append((now_s, now_c))
            first = max(at for at, (s, _) in enumerate(seen) if s <= max(0.0, now_s - STEADY_S))
            lately = [c for _, c in seen[first:] if c is not None]
            steady = now_s >= STEADY_S and bool(lately) and max(lately) - min(lately) < STEADY_C
            if steady or now_s >= (MOST_SOAK_S if least_s is None else least_s):
                return {"seconds": now_s, "temperatures_c": [c for _, c in seen]}
    finally:
        worker.end()


class Quiet:
    """What the loop of `loop_cycles` takes on each kind of core that nobody shares: the least known.

    It is kept beside the objects, for this kernel and this Python: else who measures while a neighbour is
    busy all the time would take that for quiet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.known = path, kept_cycles(path)
        self.seen: dict[str, list[float]] = {}

    def begin(self) -> None:
        """Before each measurement."""
        self.seen = {}

    def saw(self, probes: list[tuple[str, float]]) -> None:
        for kind, cycles in probes:
            self.seen.setdefault(kind, []).append(cycles)
        for kind in {kind for kind, _ in probes}:
            least = self.least(kind)
            if least is not None:
                self.known[kind] = min(least, self.known.get(kind, least))

    def least(self, kind: str) -> float | None:
        """The tenth part of this measurement's probes, if they are enough: the least of all was lucky."""
        cycles = sorted(self.seen[kind])
        return cycles[len(cycles) // 10] if len(cycles) >= LEAST_PROBES else None

    def runs(self, note: dict[str, Any], limit: float) -> int:
        """How many inferences of a process ran between two probes of a core that nobody shared."""
        return sum(
            count
            for turn, segments in enumerate(note["segments"])
            for at, count in enumerate(segments)
            if all(
                cycles <= limit * self.known.get(kind, cycles)
                for kind, cycles in note["probes"][turn][at : at + 2]
            )
        )

    def keep(self) -> None:
        """For later measurements; a board that cannot be written to is measured nevertheless.

        The least of very many measurements would be a lucky one: others that were as quiet raise it a little.
        """
        for kind in self.seen:
            least, known = self.least(kind), self.known.get(kind)
            if least is not None and known is not None and least <= AS_QUIET * known:
                self.known[kind] = round(known + (least - known) / 10, 2)
        with contextlib.suppress(OSError):
            new = self.path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps({"epoch": epoch(), "cycles": self.known}))
            new.replace(self.path)


LEAST_PROBES, AS_QUIET = 20, 1.1


def epoch() -> list[str]:
    """What changes how many cycles the loop takes."""
    return [platform.version(), sys.version, str(LOOP)]


def kept_cycles(path: Path) -> dict[str, float]:
    """What `Quiet.keep` has written, of the same epoch."""
    try:
        kept = json.loads(read(str(path)) or "{}")
        if kept["epoch"] != epoch():
            return {}
        return {str(kind): float(cycles) for kind, cycles in kept["cycles"].items()}
    except (ValueError, LookupError, AttributeError, TypeError):
        return {}  # there is none, or a disk has damaged it


class Race:
    """Models measured in turns, a slice each, in one fresh process each; model 0 is the control."""

    def __init__(
        self, orders: Orders, jobs: list[dict[str, Any]], protocol: dict[str, Any], quiet: Quiet
    ) -> None:
        self.orders, self.jobs, self.protocol, self.quiet = orders, jobs, protocol, quiet
        self.cpus = protocol.get("cpus") or None
        self.results: list[dict[str, Any]] = [
            {"processes": [], "stopped_early": False, "error": None} for _ in jobs
        ]
        self.children: dict[int, Child] = {}
        self.notes: dict[int, dict[str, Any]] = {}

    def run(self, turn: int) -> None:
        """One round: a fresh process for each model that is still in the race."""
        for offset in range(len(self.jobs)):
            index = (turn + offset) % len(self.jobs)  # nobody is always first
            if not self.results[index]["error"] and not self.results[index]["stopped_early"]:
                self.start(index)
        while self.children:
            for index in list(self.children):
                self.slice(index)
            if turn == 0 and all(len(self.notes[index]["slices"]) == 1 for index in self.children):
                self.give_up()
            for index in list(self.children):
                note = self.notes[index]
                if self.is_over(note) or self.results[index]["stopped_early"]:
                    self.children.pop(index).end()
                    self.results[index]["processes"].append(note)

    def is_over(self, note: dict[str, Any]) -> bool:
        """Whether a process has run for long enough: up to twice as long while others share its core."""
        least, window_s = self.protocol["min_runs"], self.protocol["window_s"]
        limit = self.protocol.get("contended")
        if len(note["latencies_ms"]) < least or note["wall_s"] < window_s:
            return False
        if limit is None or not any(note["probes"]) or note["wall_s"] >= 2 * window_s:
            return True
        return self.quiet.runs(note, limit) >= int(least)

    def ask(self, index: int, step: str, **arguments: Any) -> Any:
        try:
            return self.children[index].ask(step, **arguments)
        except Failed as error:
            if error.kind not in MODELS_FAULT:
                raise
            self.results[index]["error"] = {"kind": error.kind, "message": str(error)}
            self.children.pop(index).end()
            return {}

    def start(self, index: int) -> None:
        self.children[index] = new = Child(self.orders, self.protocol["deadline_s"], cpus=self.cpus)
        told = self.ask(index, "load", job=self.jobs[index], started_ns=new.started_ns)
        self.notes[index] = {
            **told, "latencies_ms": [], "slices": [], "spans_s": [], "segments": [], "probes": [],
            "cpu_s": 0.0, "wall_s": 0.0,
        }  # fmt: skip
        if told:
            self.ask(index, "warm_up", most_s=min(2.0, self.protocol["window_s"]))

    def slice(self, index: int) -> None:
        seconds, rate_hz = self.protocol["slice_s"], self.protocol.get("rate_hz")
        probed, note = self.protocol.get("contended") is not None, self.notes[index]
        taken = self.ask(index, "take", seconds=seconds, rate_hz=rate_hz, probed=probed)
        if taken:
            self.quiet.saw(taken["probes"])
            for key in ("segments", "probes"):
                note[key].append(taken[key])
            note["slices"].append(len(taken["latencies_ms"]))
            note["spans_s"].append(taken["span_s"])
            note["peak_rss_bytes"] = taken["peak_rss_bytes"]
            for key in ("latencies_ms", "cpu_s", "wall_s"):
                note[key] += taken[key]

    def give_up(self) -> None:
        """After the first slices: mark what is hopelessly slower than the control."""
        ratio = self.protocol["stop_ratio"]
        if ratio is not None and 0 in self.children:
            medians = {i: statistics.median(self.notes[i]["latencies_ms"]) for i in self.children}
            for index in self.children:
                self.results[index]["stopped_early"] = index != 0 and medians[index] > ratio * medians[0]

    def between_rounds(self) -> bool:
        """After a round: drop who is dominated by the control; whether all others are known well enough."""
        least = self.protocol.get("dominated_ratio")
        medians = {
            index: [statistics.median(process["latencies_ms"]) for process in result["processes"]]
            for index, result in enumerate(self.results)
            if not result["error"] and not result["stopped_early"]
        }
        if least is not None and len(medians.get(0, [])) >= LEAST_PROCESSES:
            bars = [least * median for median in medians[0]]
            for index in [index for index in medians if index]:
                if all(median > bars[at] for at, median in enumerate(medians[index])):
                    self.results[index]["stopped_early"] = True
                    del medians[index]
        width = self.protocol.get("enough_ci")
        return width is not None and all(
            half_width(medians[index]) <= width
            and sum(len(process["latencies_ms"]) for process in self.results[index]["processes"])
            >= self.protocol["min_runs"] * self.protocol["processes"]
            for index in medians
        )


LEAST_PROCESSES = 3
"""Fewer say nothing of how processes differ."""
T_975 = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t by degrees of freedom; beyond, the last is a little too wide."""


def half_width(medians: list[float]) -> float:
    """Of the 95 % interval of processes' medians, relative; endless where there are too few."""
    if len(medians) < LEAST_PROCESSES:
        return math.inf
    logs = [math.log(median) for median in medians]
    return T_975[min(9, len(logs) - 1)] * statistics.stdev(logs) / math.sqrt(len(logs))


class Runner:
    """Answers requests; each method named `on_*` is one."""

    def __init__(self, folder: Path, orders: Orders) -> None:
        self.folder, self.objects, self.orders, self.deadline_s = folder, folder / "objects", orders, 0.0
        self.runtimes: dict[str, dict[str, Any]] = {}
        self.templates: dict[str, Child] = {}
        self.hot_at: float | None = None
        self.quiet = Quiet(folder / "loop_cycles.json")
        self.sampler: Sampler | None = None
        self.objects.mkdir(mode=0o700, parents=True, exist_ok=True)

    @functools.cached_property
    def turn(self) -> int:
        """Locked by whoever counts. It is no part of the cache: who empties that must not take it from those
        who hold it, or wait for it."""
        return shared_file("edgeopt.counting", most_bytes=0)

    def on_hello(self, counts: bool = False) -> dict[str, Any]:
        """Who the board is, and whether its runtime can be imported.

        `counts`: counts will be asked for, so the process that imports the runtime stays as their template.
        """
        return {
            "machine": platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "executable": sys.executable,
            "bits": 64 if sys.maxsize > 2**32 else 32,
            "cores": len(os.sched_getaffinity(0)),
            "files": {name: read(name) for name in FILES},
            "said": identity(),
            "time_s": time.time(),
            "temperature_c": temperature_c(),
            "conditions": None if counts else conditions(),  # on an emulated core no clock means anything
            "runtime": self.bare("onnxruntime", stays=counts),
            "other_runtimes": {name: installed(name) for name in ("tflite-runtime", "ai-edge-litert")},
        }

    def on_stat(self, objects: list[str]) -> list[str]:
        """Which of these objects are here and whole; a damaged one is removed."""
        present = []
        for sha256 in objects:
            path = self.path(sha256)
            with contextlib.suppress(FileNotFoundError):  # another's runner may make room meanwhile
                if digest(path) == sha256:
                    os.utime(path)
                    present.append(sha256)
                else:
                    path.unlink()
        return present

    def on_assemble(self, files: dict[str, list[list[Any]]], new: str) -> dict[str, list[str]]:
        """Make objects of parts of others, each part `[object, offset, length]`; `new` came for this alone.

        Objects that are not here any more are `missing`; then nothing is made of them.
        """
        missing: list[str] = []
        with self.scratch() as folder:
            for sha256, parts in files.items():
                made = Path(folder, "made")
                try:
                    with made.open("wb") as target:
                        for name, offset, length in parts:
                            with self.path(name).open("rb") as source:
                                source.seek(offset)
                                while length and (chunk := source.read(min(length, 1 << 20))):
                                    length -= target.write(chunk)
                except FileNotFoundError:
                    missing.append(sha256)
                    continue
                if digest(made) == sha256:
                    made.replace(self.path(sha256))
                else:  # one of the others is damaged
                    missing.append(sha256)
        with contextlib.suppress(FileNotFoundError):
            self.path(new).unlink()
        return {"missing": missing}

    def on_measure(
        self,
        jobs: list[dict[str, Any]],
        protocol: dict[str, Any],
        max_temperature_c: float | None = None,
        meter: dict[str, Any] | None = None,
        edges: list[list[float]] | None = None,
    ) -> dict[str, Any]:
        """Let models take turns; the request's deadline is that of each process.

        `rounds`: how the board was before the first round and after each. Models or inputs that are not here
        are `missing`, and nothing is measured; neither is it on a board hotter than `max_temperature_c`.
        `meter` is read meanwhile; `edges` are two patterns of `exercise`, before the models and after them.
        """
        wanted = {job[key]: None for job in jobs for key in ("model", "feeds")}
        present = self.on_stat(list(wanted))
        if missing := [name for name in wanted if name not in present]:
            return {"missing": missing}
        race = Race(
            self.orders,
            [self.located(job) for job in jobs],
            {**protocol, "deadline_s": self.deadline_s},
            self.quiet,
        )
        self.quiet.begin()
        for index, job in enumerate(jobs):
            race.results[index]["runtime_rss_bytes"] = self.bare(job["runtime"]).get("peak_rss_bytes")
        soaked = None
        if protocol.get("soak"):
            try:
                soaked = soak(race, None if self.hot_at is None else time.monotonic() - self.hot_at)
            except Failed as error:
                if len(jobs) == 1:
                    raise
                raise Failed(
                    "io", f"the control model fails while the board is warmed up: {error}"
                ) from error
        rounds = [conditions()]
        hot = rounds[0]["temperature_c"]
        if max_temperature_c is not None and hot is not None and hot > max_temperature_c:
            return {"models": [], "rounds": rounds}
        other_work = OtherWork(protocol.get("load") or 0.0)
        workers = len(other_work.pids)
        try:
            with metered(meter, edges) as power:
                for turn in range(protocol["processes"]):
                    race.run(turn)
                    rounds.append(conditions())
                    if race.between_rounds():
                        break
            if other_work.end() < workers:
                raise Failed("io", "the work that was to run beside the models ended before them")
        finally:
            other_work.end()
        self.hot_at = time.monotonic() if soaked else None
        self.quiet.keep()
        return {
            "models": race.results,
            "rounds": rounds,
            "soaked": soaked,
            "loop_cycles": self.quiet.known,
            **power,
        }

    def on_conditions(self) -> dict[str, Any]:
        return conditions()

    def on_sample(self, meter: dict[str, Any]) -> dict[str, Any]:
        """Begin to read a meter that hangs on this machine, or tell the `error`; `on_sampled` ends it."""
        self.on_sampled()
        self.sampler = Sampler(meter)
        return {**json.loads(self.sampler.first), "now_s": time.perf_counter()}

    def on_sampled(self) -> dict[str, Any]:
        """What was read since."""
        sampler, self.sampler = self.sampler, None
        return sampler.stop() if sampler else {"error": "nobody began to read it"}

    def on_exercise(self, pattern: list[float]) -> dict[str, Any]:
        return exercise(pattern)

    def on_profile(self, job: dict[str, Any], runs: int) -> Any:
        with self.scratch() as folder:
            return self.alone("node_times", job, profile=f"{folder}/trace", runs=runs)

    def on_count(
        self, job: dict[str, Any], cache_runs: int | None = 0, profile: bool = False
    ) -> dict[str, Any]:
        """One inference of a fresh process between the markers, for an emulator to count; see `count`.

        On a real arm64 board the markers do nothing, and nobody counts; elsewhere it is refused.
        """
        if platform.machine() != "aarch64" or sys.maxsize < 2**32:
            raise Failed("request", f"this is no arm64 board: {platform.machine()}")
        self.on_claim()
        try:
            return self.counted(job, cache_runs, profile)
        finally:
            fcntl.flock(self.turn, fcntl.LOCK_UN)

    def on_claim(self) -> None:
        """Wait until nobody else counts on this board, and keep the right to until the next count has ended.

        An emulator knows one count at a time. The templates of counts inherit the right: if this process is
        killed, it stays with them until the last of them is gone, and nobody's count meets another's markers.
        """
        end = time.monotonic() + self.deadline_s
        while not self.claimed():
            if time.monotonic() > end:
                raise Failed("io", "what another client has begun to count has not ended")
            if select.select([0], [], [], 0.05)[0]:
                self.orders.pull()

    def claimed(self) -> bool:
        """Whether nobody else counts on this board; from then on nobody will."""
        try:
            fcntl.flock(self.turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def counted(self, job: dict[str, Any], cache_runs: int | None, profile: bool) -> dict[str, Any]:
        """Whose turn it is counts. When this ends, however it does, no process of the count is left."""
        template = self.template(job["runtime"])
        try:
            template.fork(self.deadline_s)
            with self.scratch() as folder:
                prefix = f"{folder}/trace" if profile else None
                told = template.ask("count", job=self.located(job), cache_runs=cache_runs, profile=prefix)
            return {**told, "runtime_rss_bytes": self.runtimes[job["runtime"]].get("peak_rss_bytes")}
        except Failed as error:
            if error.kind == "deadline":  # its answer may still come, and would be taken for the next one's
                template.end()
            raise
        except BaseException:  # nobody waits for it any more
            template.end()
            raise
        finally:
            template.rejoin()
            markers()["stop"]()  # it may have died in between

    def on_infer(self, job: dict[str, Any]) -> dict[str, str]:
        """Outputs of every sample in the job's feeds, as a new object."""
        with self.scratch() as folder:
            target = Path(folder, "outputs.npz")
            self.alone("outputs", job, samples=str(self.path(job["feeds"])), target=str(target))
            sha256 = digest(target)
            target.replace(self.path(sha256))
        return {"sha256": sha256}

    def on_empty(self) -> dict[str, Any]:
        """Remove the whole cache, this script included; `{"counting": True}`, and nothing is removed, while
        another client counts with what is in it."""
        if not self.claimed():
            return {"counting": True}
        try:
            removed = self.on_clean(0)
            for name in ("runner", "tmp", "objects"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                self.quiet.path.unlink()
            with contextlib.suppress(OSError):  # somebody else keeps something there
                self.folder.rmdir()
        finally:
            fcntl.flock(self.turn, fcntl.LOCK_UN)
        return {"counting": False, **removed}

    def on_clean(self, limit_bytes: int | None = None) -> dict[str, int]:
        """Remove the objects used longest ago until the rest fits `limit_bytes`: by default 2 GiB, or half of
        the room that they and nobody take."""
        held: list[tuple[float, Path, int]] = []
        for path in self.objects.iterdir():
            with contextlib.suppress(FileNotFoundError):  # others, who upload, rename and remove, too
                found = path.stat()
                held.append((found.st_mtime, path, found.st_size))
        if limit_bytes is None:
            room_bytes = sum(one[2] for one in held) + shutil.disk_usage(self.objects).free
            limit_bytes = min(OBJECTS_LIMIT_BYTES, room_bytes // 2)
        kept_bytes, removed, removed_bytes = 0, 0, 0
        for _, path, size_bytes in sorted(held, reverse=True):
            kept_bytes += size_bytes
            if kept_bytes > limit_bytes:
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed, removed_bytes = removed + 1, removed_bytes + size_bytes
        return {"removed": removed, "bytes": removed_bytes}

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A folder that goes afterwards; if this process is killed, when the next one starts."""
        own = self.folder / "tmp" / own_mark()
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=own) as folder:
                yield folder
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def on_lease(self, wait_s: float = 0.0, **asker: Any) -> dict[str, Any]:
        """Take the board, waiting for at most `wait_s`; see `Lease.take`."""
        end = boottime_s() + wait_s
        while "held" in (answer := self.orders.lease.take(**asker)) and boottime_s() < end:
            if 0 in self.orders.wait(most_s=POLL_S):
                self.orders.pull()
        if answer.get("former") == "alive":  # it was when this runner began, and has been ended for the lease
            sweep(self.folder / "tmp")
        return answer

    def on_who(self) -> dict[str, Any]:
        """Who has the board, and who has reserved it."""
        return self.orders.lease.who()

    def on_lock(self, owner: str, why: str, for_s: float) -> dict[str, Any]:
        """Reserve the board for its owner's own commands."""
        return self.orders.lease.reserve(owner, why, for_s)

    def on_unlock(self, owner: str, force: bool = False) -> dict[str, Any]:
        """Give up a reservation; `force`: whoever has the board loses it."""
        return self.orders.lease.release(owner, force)

    def bare(self, runtime: str, stays: bool = False) -> dict[str, Any]:
        """What a runtime takes without a model, or why it cannot be imported; found out once.

        `stays`: in the template of later counts, which is kept, instead of in a process of its own.
        """
        if runtime not in self.runtimes:
            try:
                if stays:
                    self.template(runtime)
                else:
                    self.runtimes[runtime] = self.alone("bare", runtime=runtime)
            except Failed as error:
                self.runtimes[runtime] = {"error": str(error)}
        return self.runtimes[runtime]

    def template(self, runtime: str) -> Child:
        """A process that has imported a runtime and is copied for each count: on an emulated core, importing
        takes longer than counting. It is made once."""
        known = self.templates.get(runtime)
        if known is None or known.errors.closed:
            known = Child(self.orders, max(self.deadline_s, IMPORT_S), repeatable=True, keeps=(self.turn,))
            self.runtimes[runtime] = known.ask("bare", runtime=runtime)
            if len(list(Path(f"/proc/{known.process.pid}/task").iterdir())) > 1:
                raise Failed(
                    "request", f"{runtime} starts threads when it is imported: a copy would lack them"
                )
            Child.alive.remove(known)  # it stays beyond the request
            self.templates[runtime] = known
        return known

    def path(self, sha256: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise Failed("request", f"{sha256!r} is not a SHA-256")
        return self.objects / sha256

    def located(self, job: dict[str, Any]) -> dict[str, Any]:
        return {**job, **{key: str(self.path(job[key])) for key in ("model", "feeds")}}

    def alone(
        self, step: str, job: dict[str, Any] | None = None, profile: str | None = None, **arguments: Any
    ) -> Any:
        """One step in a fresh process of its own."""
        process = Child(self.orders, self.deadline_s)
        try:
            if job:
                process.ask("load", job=self.located(job), started_ns=process.started_ns, profile=profile)
            return process.ask(step, **arguments)
        finally:
            process.end()


# ---------------------------------------------------------------- who the board is


def identity() -> dict[str, str]:
    """What changes how fast the board is, as the host's probes of these names print it."""
    cpus = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    return {
        "kernel_build": platform.version(),
        "governor": "\n".join(read(f"{cpu}/scaling_governor") or "" for cpu in cpus),
        "clock_limits_khz": "\n".join(read(f"{cpu}/cpuinfo_max_freq") or "" for cpu in cpus),
        "firmware": firmware_version(),
    }


def firmware_version() -> str:
    """Of what runs below the kernel: the Raspberry Pi's firmware, U-Boot or a BIOS."""
    tool, said = shutil.which("vcgencmd"), ""
    if tool:
        try:
            done = subprocess.run([tool, "version"], capture_output=True, text=True, timeout=5, check=False)
            said = "" if done.returncode else done.stdout
        except (OSError, subprocess.TimeoutExpired):
            pass
    others = ("/proc/device-tree/chosen/u-boot,version", "/sys/class/dmi/id/bios_version")
    return said or next((text for text in map(read, others) if text), "")


# ---------------------------------------------------------------- how the board is doing


def conditions() -> dict[str, Any]:
    """How the board is doing; unknown is null."""
    stat = read("/proc/stat")
    ticks = [int(word) for word in stat.split("\n", 1)[0].split()[1:9]] if stat else None
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    core = fastest_core()
    state = {
        "at_s": time.monotonic(),
        "cores": os.cpu_count() or 1,
        "busy_s": (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") if ticks else None,
        "own_s": sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(map(cpu_s, Sampler.alive)),
        "swap_bytes": swap_bytes(),
        "spin": spin(core),
    }
    # Asked after the loop has spun: now a governor that saves power has raised the clock.
    return {
        **state,
        "kernel_hz": core_hz(core, "scaling_cur_freq"),
        "clock_hz": firmware("measure_clock", "arm", base=10),
        "throttled_bits": firmware("get_throttled", base=0),
        "temperature_c": temperature_c(),
    }


SPIN_ADDS = 512
"""Additions in a round: so many that what the loop itself takes does not show."""
CHUNK_S, CHUNKS, LONGEST_SPIN_S = 0.001, 8, 0.4


@functools.cache
def additions() -> Callable[[int], None] | None:
    """`n` rounds of additions, each of which needs the one before: one cycle each, on every arm64 core that
    Linux runs on and on x86-64. None for other processors.

    Source: integer addition has a latency of 1 in Arm's software optimization guides of the Cortex-A55, A57,
    A72, A76 and A78, and in Agner Fog's instruction tables.
    """
    machine, wide = platform.machine(), sys.maxsize > 2**32
    if machine == "aarch64" and wide:
        back = 0x54000001 | (-(SPIN_ADDS + 1) & 0x7FFFF) << 5
        # add x1, x1, x1; subs x0, x0, #1; b.ne; ret
        code = struct.pack(f"<{SPIN_ADDS + 3}I", *[0x8B010021] * SPIN_ADDS, 0xF1000400, back, 0xD65F03C0)
    elif machine == "x86_64" and wide:
        # add rax, rax; dec rdi; jnz; ret
        code = b"\x48\x01\xc0" * SPIN_ADDS + b"\x48\xff\xcf"
        code += b"\x0f\x85" + struct.pack("<i", -len(code) - 6) + b"\xc3"
    else:
        return None
    try:
        address = executable(code)
    except (Failed, OSError):
        return None
    return ctypes.CFUNCTYPE(None, ctypes.c_uint64)(address)


def hashes(count: int) -> None:
    """Work for a processor whose code is not known here."""
    for _ in range(count):
        hashlib.sha256(HASHED).digest()


HASHED = bytes(1 << 14)


def spin(core: int) -> dict[str, Any]:
    """The speed of a fixed loop on one core, the best of some chunks: others may have had it in between.

    `per_s`: of `adds` its clock in Hz, whatever the kernel says that it is; of `hashes` a speed that can only
    be compared with an earlier one.
    """
    work = additions()
    cores, per_call = os.sched_getaffinity(0), SPIN_ADDS if work else 1
    try:
        os.sched_setaffinity(0, {core})
        return {"kind": "adds" if work else "hashes", "per_s": best_speed(work or hashes, core) * per_call}
    finally:
        os.sched_setaffinity(0, cores)


def best_speed(work: Callable[[int], None], core: int) -> float:
    """Calls per second: of chunks of a millisecond, until no further one is faster and the clock is up."""
    clock, count = time.perf_counter, 1
    while True:
        begun = clock()
        work(count)
        if (took := clock() - begun) >= CHUNK_S / 2:
            break
        count *= 2
    best, without, end = count / took, 0, clock() + LONGEST_SPIN_S
    aim = core_hz(core, "scaling_max_freq")
    while without < CHUNKS or (aim and clock() < end and (core_hz(core, "scaling_cur_freq") or aim) < aim):
        begun = clock()
        work(count)
        speed = count / (clock() - begun)
        without = 0 if speed > 1.002 * best else without + 1
        best = max(best, speed)
        if clock() > end:
            break
    return best


def fastest_core() -> int:
    """Of those that may be used, the first of the highest clock: not all of a board's need be alike."""
    return max(sorted(os.sched_getaffinity(0)), key=lambda core: core_hz(core, "cpuinfo_max_freq") or 0)


def core_hz(core: int, what: str) -> int | None:
    """A clock of which the kernel tells, of one core."""
    value = read(f"/sys/devices/system/cpu/cpu{core}/cpufreq/{what}")
    return int(value) * 1000 if value and value.isdigit() else None


def swap_bytes() -> int | None:
    """How much memory is swapped out."""
    sizes = dict(re.findall(r"^(Swap\w+):\s+(\d+) kB", read("/proc/meminfo") or "", re.MULTILINE))
    if not {"SwapTotal", "SwapFree"} <= set(sizes):
        return None
    return (int(sizes["SwapTotal"]) - int(sizes["SwapFree"])) * 1024


def firmware(*question: str, base: int) -> int | None:
    """Ask the Raspberry Pi's firmware, which alone knows of throttling."""
    tool = shutil.which("vcgencmd")
    if not tool:
        return None
    try:
        done = subprocess.run([tool, *question], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None  # it can hang where the firmware does
    found = re.search(r"=(\w+)", done.stdout)
    return int(found[1], base) if found else None


CPU_ZONES = "cpu|soc|x86_pkg|package|mpu"
"""In names of thermal zones: `package` is the RK3588's in Linux's own device tree, `mpu` the TDA4VM's."""


def temperature_c() -> float | None:
    """Of the CPU, where the kernel shows one."""
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        value = read(f"{zone}/temp")
        if value and re.search(CPU_ZONES, read(f"{zone}/type") or "", re.IGNORECASE):
            return int(value) / 1000
    return None


def oom_kills() -> int:
    """How often the kernel has run out of memory since boot."""
    found = re.search(r"^oom_kill (\d+)", read("/proc/vmstat") or "", re.MULTILINE)
    return int(found[1]) if found else 0


def installed(distribution: str) -> str | None:
    """Its version; None if it is not there."""
    # In here: a seventh of the start of each child, which does not ask.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    result = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            result.update(chunk)
    return result.hexdigest()


def read(path: str) -> str | None:
    """A small text file; None if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


EXCLUSIVE = frozenset({"measure", "profile"})
"""Requests whose answers tell times: two at once would spoil both."""


def answer_to(runner: Runner, request: dict[str, Any]) -> dict[str, Any]:
    """Serve one request; whatever fails is told, and no process is left."""
    known = {"version": VERSION, "id": request.pop("id", None)}
    name, runner.deadline_s = str(request.pop("op", "")), float(request.pop("deadline_s", 60.0))
    try:
        if request.pop("version", None) != VERSION or not hasattr(runner, f"on_{name}"):
            raise Failed("request", f"this runner speaks version {VERSION} and does not know {name!r}")
        lease, token = runner.orders.lease, request.pop("token", None)
        if name in EXCLUSIVE:
            lease.require(token)
        answer = getattr(runner, f"on_{name}")(**request)
        if name in EXCLUSIVE:
            lease.require(token)  # else another's work has been beside it
        return {**known, "ok": answer}
    except Fenced as error:
        return {**known, "error": {"kind": "lease", "message": str(error)}}
    except Failed as error:
        return {**known, "error": {"kind": error.kind, "message": str(error)}}
    except (KeyError, TypeError, ValueError) as error:
        return {**known, "error": {"kind": "request", "message": repr(error)}}
    except OSError as error:
        return {**known, "error": {"kind": "io", "message": str(error)}}
    finally:
        for left in list(Child.alive):
            left.end()


def serve(folder: Path) -> NoReturn:
    """Answer requests until stdin closes; then nothing of this is left running."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    adopt_orphans()
    sweep(folder / "tmp")
    orders = Orders(Lease(), lambda data: os.write(answers.fileno(), data))
    runner = Runner(folder, orders)
    try:
        while True:
            answers.write(json.dumps(answer_to(runner, orders.next())) + "\n")
            answers.flush()
    except (Gone, BrokenPipeError, KeyboardInterrupt):
        orders.lease.sign_off()
        for left in list(Child.alive) + list(runner.templates.values()):
            left.end()
        os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        child()
    elif sys.argv[1:] == ["--sample"]:
        sampling()
    else:
        serve(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / ".cache" / "edgeopt")
