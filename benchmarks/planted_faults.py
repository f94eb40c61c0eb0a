"""Does the validity gate see what it is for? Faults planted into clean windows, seeded, and for real.

Two kinds of clean windows: those of a model of a quiet board, judged by the thresholds of the rpi4, and those
that the on-board runner records on this machine, judged by the thresholds of `local`. Into each is planted,
50 times:

- `throttled`: from a moment between 10 and 80 % on everything takes twice as long, and no sensor says so;
- `lying clock`: the core runs at 0.4 to 0.75 (board: 0.95) of what the kernel says, from the start;
- `outlier process`: one process is slower, by as much as the device's threshold lets it be told.

A lagging meter has windows of its own: `planted_meter_lag`.

    python -m benchmarks.planted_faults [--record 8 [--save FILE]] [--real 3] [--seed 0]

`--record`: final windows to take on this machine. Clean are those in which nobody else ran, by the CPU time
of the measured processes; on a machine that is never quiet there are none, and then nothing is shown.
`--save` keeps all of them in a file, as in `tests/boards/data/windows`. `--real`: trials in which a process
is slowed down for real, by stopping it for four of five milliseconds, in the second half of its windows or
one process wholly, and in which real busy processes run beside it. Run on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgeopt.boards import profiles, quiet
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports.local import LocalTransport
from edgeopt.boards.validity import Speed, Thresholds, of_board, of_windows, other_cpu
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.measurement import Protocol
from edgeopt.resources import resource
from edgeopt.runtimes.onnxruntime import Session

TRIALS = 50
LEAST_SHARE = 0.97
"""Of the time of a process that is never kept waiting: the rest is the clock's and the scheduler's."""
MOST_FALSE_ALARMS = 0.02
CLEAN_WINDOWS = 500
BOARD_HZ = 1.5e9


@dataclass(frozen=True)
class Window:
    """What the runner tells of one artifact, as far as the gate looks at it.

    Attributes:
        processes: Latencies of each in ms, `(runs,)`.
        rounds: How the machine was before them and after each.
        shares: Of each process's time that it had a core, 0..1; the gate does not know it.
    """

    processes: tuple[np.ndarray, ...]
    rounds: tuple[dict[str, Any], ...]
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Judge:
    """The gate with the thresholds of one device.

    Attributes:
        least_clock: The mildest lie that its threshold lets it tell with a margin.
        least_outlier: The same of how much slower one process is.
    """

    thresholds: Thresholds
    expected: Speed | None
    least_clock: float
    least_outlier: float

    def reasons(self, window: Window) -> list[str]:
        processes = [list(one) for one in window.processes]
        found = of_board(window.rounds, self.expected, self.thresholds)
        return [*found, *of_windows(processes, self.thresholds)]


def quiet_board(rng: np.random.Generator, processes: int = 5, runs: int = 133) -> Window:
    """A board as the published ones are when nothing disturbs them: 0.5 % between processes, 1 % between
    inferences, a slow wander of 0.3 %, 2 % of the inferences hit by a hiccup of up to three times; no sensor
    is exact."""
    windows = []
    for level in 30 * np.exp(rng.normal(0, 0.005, processes)):
        wander = np.cumsum(rng.normal(0, 0.003 / np.sqrt(runs), runs))
        hiccups = np.where(rng.random(runs) < 0.02, rng.uniform(1.2, 3, runs), 1.0)
        windows.append(level * np.exp(wander + rng.normal(0, 0.01, runs)) * hiccups)
    rounds, at_s, busy_s, own_s = [], 0.0, 0.0, 0.0
    for number in range(processes + 1):
        rounds.append(
            {
                "at_s": at_s, "cores": 4, "busy_s": busy_s, "own_s": own_s, "swap_bytes": 0,
                "spin": {"kind": "adds", "per_s": BOARD_HZ * (1 - abs(rng.normal(0, 0.002)))},
                "kernel_hz": BOARD_HZ, "clock_hz": BOARD_HZ * (1 + rng.normal(0, 0.0005)),
                "throttled_bits": 0x50000, "temperature_c": min(74.0, 50 + 4 * number + rng.normal(0, 1)),
            }
        )  # fmt: skip
        own = rng.uniform(9, 38)
        at_s, own_s, busy_s = at_s + 12, own_s + own, busy_s + own + 12 * 4 * rng.uniform(0, 0.015)
    return Window(tuple(windows), tuple(rounds))


def throttled(window: Window, rng: np.random.Generator, _judge: Judge) -> Window:
    """Twice as slow from a moment on."""
    whole = np.concatenate(window.processes)
    onset = rng.uniform(0.1, 0.8) * whole.sum()
    slow = np.where(np.cumsum(whole) > onset, 2 * whole, whole)
    ends = np.cumsum([len(one) for one in window.processes])[:-1]
    return replace(window, processes=tuple(np.split(slow, ends)))


def lying_clock(window: Window, rng: np.random.Generator, judge: Judge) -> Window:
    """As slow as the loop is, whatever kernel and firmware say."""
    ratio = rng.uniform(0.4, judge.least_clock)
    rounds = tuple(
        state | {"spin": state["spin"] | {"per_s": state["spin"]["per_s"] * ratio}} for state in window.rounds
    )
    return Window(tuple(one / ratio for one in window.processes), rounds)


def outlier_process(window: Window, rng: np.random.Generator, judge: Judge) -> Window:
    """One process, any, is slower from its beginning to its end."""
    factor = rng.uniform(judge.least_outlier, 2 * judge.least_outlier)
    number = int(rng.integers(len(window.processes)))
    slow = (one * (factor if at == number else 1.0) for at, one in enumerate(window.processes))
    return replace(window, processes=tuple(slow))


FAULTS: dict[str, Callable[[Window, np.random.Generator, Judge], Window]] = {
    "throttled": throttled,
    "lying clock": lying_clock,
    "outlier process": outlier_process,
}


def single(window: Window, rng: np.random.Generator) -> Window:
    """One of its processes alone, as a screening has: of those that have as many latencies as one needs."""
    needed = profiles.protocols(profiles.load("local"))["screen"].min_runs
    return process(window, int(rng.choice([at for at, p in enumerate(window.processes) if len(p) >= needed])))


def process(window: Window, at: int) -> Window:
    """One of its processes, with how the machine was before and after it."""
    rounds, shares = (window.rounds[at], window.rounds[at + 1]), window.shares[at : at + 1]
    return Window((window.processes[at],), rounds, shares)


def is_quiet(window: Window) -> bool:
    """Whether nobody else took anything, by what the gate does not decide by: each process always had its
    core, and of all cores no other process used more than a board may have used."""
    most = board_judge().thresholds.max_other_cpu or 0.0
    used = [other_cpu(before, after) for before, after in pairwise(window.rounds)]
    return min(window.shares) >= LEAST_SHARE and all(share is None or share <= most for share in used)


def board_judge(windows: Sequence[Window] = ()) -> Judge:
    """The rpi4's thresholds: 0.98 of the clock, and a variation of 2 % lets 10 % in one of five be told.

    Args:
        windows: Recorded ones, whose best speed is what is expected; else that of the model of a board.
    """
    expected = best_speed(windows) or Speed("adds", BOARD_HZ)
    return Judge(Thresholds.of(profiles.load("rpi4")), expected, least_clock=0.95, least_outlier=1.10)


def local_judge(windows: Sequence[Window]) -> Judge:
    """This machine's thresholds: 0.8 of the clock, and a variation of 15 % tells one of eight that is 2 x."""
    expected = best_speed(windows)
    thresholds = Thresholds.of(profiles.load("local")).when_quiet()
    return Judge(thresholds, expected, least_clock=0.75, least_outlier=2.0)


def best_speed(windows: Sequence[Window]) -> Speed | None:
    """Of the loop, in all of them."""
    spins = [state["spin"] for window in windows for state in window.rounds]
    best = max(spins, key=lambda spin: float(spin["per_s"]), default=None)
    return Speed(best["kind"], best["per_s"]) if best else None


def detected(clean: Callable[[np.random.Generator], Window], judge: Judge, seed: int) -> dict[str, int]:
    """Of 50 trials each, how many the gate refused; a fault of the clock or the board every second time in a
    single process, as in a screening."""
    found = {}
    for number, (name, plant) in enumerate(FAULTS.items()):
        rng = np.random.default_rng([seed, number])
        found[name] = 0
        for trial in range(TRIALS):
            window = clean(rng)
            if trial % 2 and name != "outlier process":
                window = single(window, rng)
            found[name] += bool(judge.reasons(plant(window, rng, judge)))
    return found


def false_alarms(windows: Sequence[Window], judge: Judge) -> list[list[str]]:
    """Why clean windows were refused, one entry for each that was."""
    return [reasons for window in windows if (reasons := judge.reasons(window))]


# ---------------------------------------------------------------- windows and faults of this machine


def this_machine(folder: Path, thresholds: Thresholds = Thresholds()) -> RunnerBoard:  # noqa: B008 - frozen
    transport = LocalTransport(sys.executable, folder)
    return RunnerBoard("local", "local", lambda: transport, thresholds=thresholds)


def example() -> tuple[Artifact, dict[str, np.ndarray]]:
    """The transformer on one thread: of the examples the one that takes longest."""
    path = resource("examples/transformer/model.onnx")
    feeds = {i.name: np.ones([size or 1 for size in i.shape], i.dtype) for i in Session(path).inputs}
    options: dict[str, object] = {"threads": 1}
    return Artifact("key", path, file_digest(path), path.stat().st_size, session_options=options), feeds


def take(board: RunnerBoard, protocol: Protocol) -> Window:
    """One measurement of the example, unjudged: of its inferences those that count."""
    artifact, feeds = example()
    answer, _ = board._measured([artifact], feeds, protocol)
    (use,) = quiet.used(answer, protocol)
    windows = tuple(np.array(process["latencies_ms"]) for process in use.processes)
    shares = tuple(min(1.0, process["cpu_s"] / process["wall_s"]) for process in use.processes)
    return Window(windows, tuple(answer["rounds"]), shares)


@contextlib.contextmanager
def every_other_millisecond(when: Callable[[int, float], bool]) -> Iterator[None]:
    """Stop the measured process for a while, let it run for a while, while `when(number, age_s)` holds."""
    done = threading.Event()
    seen: dict[int, float] = {}

    def slow_down() -> None:
        while not done.is_set():
            pid = _measured_process()
            if pid is None:
                time.sleep(0.01)
                continue
            age_s = time.monotonic() - seen.setdefault(pid, time.monotonic())
            if not when(list(seen).index(pid), age_s):
                time.sleep(0.01)
                continue
            with contextlib.suppress(ProcessLookupError):
                for _ in range(20):
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(0.004)
                    os.kill(pid, signal.SIGCONT)
                    time.sleep(0.001)

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _measured_process() -> int | None:
    """The newest child of the runner that this process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            pid, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            command = path.with_name("cmdline").read_bytes()
            grand = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
            if b"--child" in command and grand == os.getpid():
                found.append(pid)
    return max(found, default=None)


def save(file: Path, protocol: Protocol, windows: Sequence[Window]) -> None:
    """Write windows of the example to a file, compressed: a line that says what they are, then one of JSON
    for each. Latencies are in whole microseconds."""
    fields = ("processes", "min_runs", "window_s", "slice_s")
    lines: list[dict[str, Any]] = [
        {
            "recorded_on": f"{platform.machine()}, {os.cpu_count()} cores, {date.today().isoformat()}",
            "model": "examples/transformer/model.onnx, one thread",
            "protocol": {name: getattr(protocol, name) for name in fields},
        }
    ]
    for window in windows:
        processes = [[round(ms * 1e3) for ms in one] for one in window.processes]
        shares = [round(share, 3) for share in window.shares]
        lines.append({"processes_us": processes, "rounds": window.rounds, "shares": shares})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    file.write_bytes(gzip.compress(text.encode(), mtime=0))


def load(file: Path) -> list[Window]:
    """The windows of such a file, compressed or not."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as stream:
        _, *lines = map(json.loads, stream)
    return [
        Window(
            tuple(np.array(one) / 1e3 for one in line["processes_us"]),
            tuple(line["rounds"]),
            tuple(line["shares"]),
        )
        for line in lines
    ]


def real_trials(folder: Path, count: int) -> dict[str, int]:
    """Of so many trials each, how many were refused."""
    final = profiles.protocols(profiles.load("local"))["final"]
    thresholds = Thresholds.of(profiles.load("local"))
    found = dict.fromkeys(("throttled", "outlier process", "other load"), 0)
    with this_machine(folder) as board:
        judge = local_judge([])
        for _ in range(count):
            with every_other_millisecond(lambda _, age_s: age_s > 1.2):
                found["throttled"] += bool(judge.reasons(take(board, final)))
            with every_other_millisecond(lambda number, _: number == 3):
                found["outlier process"] += bool(judge.reasons(take(board, final)))
            hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
            try:
                strict = replace(thresholds, max_other_cpu=0.03)  # a board's: this machine's never refuses
                window = take(board, final)
                found["other load"] += bool(of_board(window.rounds, None, strict))
            finally:
                for hog in hogs:
                    hog.kill()
                    hog.wait()
    return found


def main() -> int:
    """Print what was detected and what was a false alarm; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=int, default=8)
    parser.add_argument("--real", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="where recorded windows are kept, one JSON line each")
    asked = parser.parse_args()
    missed = False

    def report(what: str, found: dict[str, int], trials: int, alarms: list[list[str]], clean: int) -> bool:
        print(f"{what}:")
        for name, count in found.items():
            print(f"  {name}: {count} of {trials} detected")
        print(f"  false alarms: {len(alarms)} of {clean} clean windows")
        for reasons in alarms[:5]:
            print(f"    {'; '.join(reasons)}")
        return any(count < trials for count in found.values()) or len(alarms) > MOST_FALSE_ALARMS * clean

    judge = board_judge()
    rng = np.random.default_rng(asked.seed)
    windows = [quiet_board(rng) for _ in range(CLEAN_WINDOWS)]
    found = detected(quiet_board, judge, asked.seed)
    missed |= report("a quiet board's model, thresholds of rpi4", found, TRIALS, false_alarms(windows, judge),
                     len(windows))  # fmt: skip
    with TemporaryDirectory() as name:
        if asked.record:
            final = profiles.protocols(profiles.load("local"))["final"]
            with this_machine(Path(name)) as board:
                recorded: list[Window] = []
                for _ in range(asked.record):
                    recorded.append(take(board, final))
                    if asked.save:  # each at once: hours of a quiet machine are rare
                        save(asked.save, final, recorded)
            print(f"load average {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores")
            clean = [window for window in recorded if is_quiet(window)]
            print(
                f"{len(clean)} of {len(recorded)} windows recorded on this machine are clean: nobody else ran"
            )
            missed |= not clean
            for device, judge in (("local", local_judge(recorded)), ("rpi4", board_judge(recorded))):
                if clean:
                    found = detected(lambda rng: clean[int(rng.integers(len(clean)))], judge, asked.seed)
                    missed |= report(f"recorded on this machine, thresholds of {device}", found, TRIALS,
                                     false_alarms(clean, judge), len(clean))  # fmt: skip
        if asked.real:
            for what, count in real_trials(Path(name), asked.real).items():
                print(f"for real, {what}: {count} of {asked.real} detected")
                missed |= count < asked.real
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
