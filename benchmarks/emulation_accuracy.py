"""Compare emulated latencies with published ones, and say how wrong they are.

`python benchmarks/emulation_accuracy.py` emulates every published row of LiteRT and XNNPACK on the boards
that can be emulated, and prints errors by board, runtime and type, always with the row's model left out of
what was fitted. `--write` fits the factors and error bars of the profiles' `[emulation]` anew.

Five constants are fitted to fifteen rows, no more: on each of three cores, what a cycle costs relative to its
price; on all, what a miss costs relative to the profile's figures, and the serial fraction. The rows of the
Raspberry Pi 5 are of another runtime with the same kernels, and do not tell their threads; how right they are
before any of them was fitted is printed too. Rows of other boards and runtimes stay aside.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from emulation_baselines import BASELINES
from emulation_counts import Wanted, counted
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from edgeopt.boards import profiles
from edgeopt.boards.virtual import calibration
from edgeopt.boards.virtual.calibration import Observation, residuals
from edgeopt.boards.virtual.cycles import CycleModel

PROFILES = Path(__file__).parent.parent / "device_profiles"
EMULATED = ("rpi-zero2w", "rpi3bplus", "rpi4", "rpi5")
RUNTIMES = ("litert", "executorch-xnnpack")
"""Both run XNNPACK's kernels, which the LiteRT in the virtual board executes."""

CHECKED = ("onnxruntime",)
"""Fits nothing: one row, of an old version, on two threads."""

THREADS_ASSUMED = {"executorch-xnnpack": 4}
START = {"compute_factor": 1.0, "memory_factor": 1.0, "serial_fraction": 0.15}
"""Prices and facts as they are; the serial fraction is what `fit_predicted.py` finds on these boards."""
CORES = {"rpi-zero2w": "a53", "rpi3bplus": "a53", "rpi4": "a72", "rpi5": "a76"}
PRIOR = {"a53": 1.0, "a72": 1.0, "a76": 1.0, "memory_factor": 1.0, "serial_fraction": 0.15}
SIGMA = {"a53": 0.3, "a72": 0.3, "a76": 0.3, "memory_factor": 0.5, "serial_fraction": 0.5}
LEAST_SIGMA = 0.1
"""No error bar is smaller: few rows, all of one runtime and one published benchmark."""


@dataclass(frozen=True)
class Row:
    """A published latency, and what an emulator counted for it."""

    device: str
    runtime: str
    model: str
    dtype: str
    seen: Observation


def rows() -> list[Row]:
    """Every published row that a runtime in the virtual board can reproduce."""
    with (PROFILES / "published_latency.csv").open(encoding="utf-8") as stream:
        published = [
            row
            for row in csv.DictReader(stream)
            if row["board"] in EMULATED and row["runtime"] in RUNTIMES + CHECKED
        ]
    wanted = [
        Wanted(
            row["board"], row["model"], row["dtype"], "onnxruntime" if row["runtime"] in CHECKED else "litert"
        )
        for row in published
    ]  # fmt: skip
    counts = counted(wanted)
    found = []
    for row, one in zip(published, wanted, strict=True):
        threads = THREADS_ASSUMED.get(row["runtime"], int(row["threads"]))
        cycles = model(row["board"]).price(counts[one], threads).cycles
        label = f"{row['board']} {row['runtime']} {row['model']} {row['dtype']}"
        seen = Observation(label, row["model"], cycles, counts[one].total, threads, float(row["latency_ms"]))
        found.append(Row(row["board"], row["runtime"], row["model"], row["dtype"], seen))
    return found


def model(device: str) -> CycleModel:
    """A device's cycle model before anything is fitted."""
    return replace(CycleModel.of(profiles.load(device)), **START)


def fitted(constants: dict[str, float], device: str) -> CycleModel:
    """A device's cycle model with the fitted constants."""
    return replace(
        model(device), compute_factor=constants[CORES[device]], memory_factor=constants["memory_factor"],
        serial_fraction=constants["serial_fraction"],
    )  # fmt: skip


def fit(found: Sequence[Row]) -> dict[str, float]:
    """The constants that fit these rows best, each held near its prior by a weak one."""
    prior = np.log(list(PRIOR.values()))
    weight = calibration.ROW_SIGMA / np.array(list(SIGMA.values()))

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        constants = dict(zip(PRIOR, np.exp(x).tolist(), strict=True))
        errors = [residuals(fitted(constants, row.device), [row.seen])[0] for row in found]
        return np.concatenate([errors, weight * (x - prior)])

    return dict(zip(PRIOR, np.exp(least_squares(loss, prior).x).tolist(), strict=True))


def left_out(found: Sequence[Row]) -> list[float]:
    """Emulated ms of each row, its model left out of the fit on every board."""
    by_model = {
        name: fit([row for row in found if row.model != name]) for name in {row.model for row in found}
    }
    return [latency_ms(by_model[row.model], row) for row in found]


def never_seen(found: Sequence[Row], device: str) -> list[float]:
    """Emulated ms of a board's rows, none of them fitted: with the other out-of-order core's factor."""
    constants = fit([row for row in found if row.device != device])
    return [
        latency_ms(constants | {CORES[device]: constants["a72"]}, row)
        for row in found
        if row.device == device
    ]


def latency_ms(constants: dict[str, float], row: Row) -> float:
    return fitted(constants, row.device).latency_ms(row.seen.cycles, row.seen.traffic, row.seen.threads)


def print_rows(found: Sequence[Row], emulated: Sequence[float]) -> None:
    print(
        f"\n{'row':52}{'published':>10}{'unfitted':>10}{'left out':>10}{'error':>8}"
        "   M cycles, M L1 misses, M lines from and to memory"
    )
    for row, ms in zip(found, emulated, strict=True):
        seen, last = row.seen, row.seen.traffic.caches[-1]
        plain = model(row.device).latency_ms(seen.cycles, seen.traffic, seen.threads)
        moved = (last.misses + last.written_back) / 1e6
        print(
            f"{seen.label:52}{seen.measured_ms:10.1f}{plain:10.1f}{ms:10.1f}{ms / seen.measured_ms - 1:+8.0%}"
            f"   {seen.cycles / 1e6:6.1f} {seen.traffic.caches[0].misses / 1e6:6.2f} {moved:6.2f}"
        )


def print_groups(found: Sequence[Row], emulated: Sequence[float]) -> None:
    """Error by board, runtime and type."""
    print(f"\n{'board, runtime, type':44}{'rows':>5}{'median |error|':>16}{'worst':>8}{'bias':>8}")
    keys = sorted({(row.device, row.runtime, row.dtype) for row in found})
    for key in [*keys, None]:
        logs = [
            math.log(ms / row.seen.measured_ms)
            for row, ms in zip(found, emulated, strict=True)
            if key in (None, (row.device, row.runtime, row.dtype))
        ]
        absolute = [abs(math.expm1(log)) for log in logs]
        name = " ".join(key) if key else "all"
        print(
            f"{name:44}{len(logs):5}{np.median(absolute):16.0%}{max(absolute):8.0%}"
            f"{math.expm1(float(np.mean(logs))):+8.0%}"
        )


def judged(found: Sequence[Row], emulated: Sequence[float]) -> dict[str, float]:
    """The figures that methods are compared by."""
    measured = [row.seen.measured_ms for row in found]
    logs = np.log(np.array(emulated) / np.array(measured))
    ranks = []
    for device in dict.fromkeys(row.device for row in found):
        at = [i for i, row in enumerate(found) if row.device == device]
        ranks.append(spearmanr([emulated[i] for i in at], [measured[i] for i in at]).statistic)
    pairs = variants(found)
    right = [(emulated[i] > emulated[j]) == (measured[i] > measured[j]) for i, j in pairs]
    return {
        "median error": float(np.median(np.abs(np.expm1(logs)))),
        "log sigma": calibration.root_mean_square(logs),
        "mean Spearman": float(np.mean(ranks)),
        "least Spearman": min(ranks),
        "int8 sign right": float(np.mean(right)),
        "pairwise error": pairwise(logs, pairs),
    }


def variants(found: Sequence[Row]) -> list[tuple[int, int]]:
    """Indices of float and int8 rows of one model on one board."""
    return [
        (i, j)
        for i, one in enumerate(found)
        for j, other in enumerate(found)
        if (one.device, one.runtime, one.model) == (other.device, other.runtime, other.model)
        and (one.dtype, other.dtype) == ("fp32", "int8")
    ]


def pairwise(logs: NDArray[np.float64], pairs: Sequence[tuple[int, int]]) -> float:
    """How far the ratio of two variants of one model is off, relative, one standard deviation."""
    return math.expm1(calibration.root_mean_square([logs[i] - logs[j] for i, j in pairs]))


def write(found: Sequence[Row], emulated: Sequence[float]) -> None:
    """Put the constants of all rows, and the errors of rows left out, into the profiles."""
    constants = fit(found)
    logs = np.log([ms / row.seen.measured_ms for row, ms in zip(found, emulated, strict=True)])
    pairs = variants(found)
    for device in EMULATED:
        path = PROFILES / f"{device}.toml"
        now = fitted(constants, device)
        # A board without rows of its own has the worst error of the others.
        errors = {
            other: calibration.root_mean_square(
                [log for row, log in zip(found, logs, strict=True) if row.device == other]
            )
            for other in dict.fromkeys(row.device for row in found)
        }
        sigma = max(errors.get(device, max(errors.values())), LEAST_SIGMA)
        source = f"benchmarks/emulation_accuracy.py: {len(found)} published XNNPACK latencies of three boards"
        text = path.read_text(encoding="utf-8")
        text = calibration.rewritten(
            text, {name: getattr(now, name) for name in START}, f"fitted by {source}",
            "medium" if device in errors else "low",
        )  # fmt: skip
        own = "" if device in errors else ", the worst of the other boards"
        values = {"log_sigma": sigma}
        text = calibration.rewritten(text, values, f"{source}, each model left out of the fit{own}", "medium")
        values = {"pairwise_error": pairwise(logs, pairs)}
        origin = f"{source}: {len(pairs)} ratios of float to int8 of one network, left out of the fit"
        text = calibration.rewritten(text, values, origin, "medium")
        path.write_text(_verified(text, device, found, source), encoding="utf-8")
    print(f"\nwritten into the profiles: {constants}")


def _verified(text: str, device: str, found: Sequence[Row], source: str) -> str:
    """The profile's text with the runtimes and threads that rows of this board have confirmed."""
    threads = sorted({row.seen.threads for row in found if row.device == device})
    known = ", ".join(f'"litert x{one}"' for one in threads)
    origin = source if threads else f"{source}: no row of this board"
    fact = f'unit = "runtimes on so many threads", source = "{origin}", confidence = "medium"'
    return re.sub(r"^verified = .*$", f"verified = {{ value = [{known}], {fact} }}", text, flags=re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace factors and errors in the profiles")
    arguments = parser.parse_args()
    everything = rows()
    found = [row for row in everything if row.runtime in RUNTIMES]
    emulated = left_out(found)
    constants = ", ".join(f"{name} {value:.3f}" for name, value in fit(found).items())
    print(f"constants fitted to all rows: {constants}")
    print_rows(found, emulated)
    print_groups(found, emulated)
    methods = {"emulated": emulated}
    methods["emulated, nothing fitted"] = [
        model(row.device).latency_ms(row.seen.cycles, row.seen.traffic, row.seen.threads) for row in found
    ]
    labels = [(row.device, row.model, row.dtype, row.seen.threads, row.seen.measured_ms) for row in found]
    methods |= {name: baseline(labels) for name, baseline in BASELINES.items()}
    print(f"\n{'all, model left out':30}" + "".join(f"{name:>18}" for name in judged(found, emulated)))
    for name, values in methods.items():
        print(f"{name:30}" + "".join(f"{figure:18.2f}" for figure in judged(found, values).values()))
    unseen = [row.seen.measured_ms for row in found if row.device == "rpi5"]
    ratios = [ms / measured for ms, measured in zip(never_seen(found, "rpi5"), unseen, strict=True)]
    print(
        "\nrpi5 with none of its rows fitted, emulated / published: " + ", ".join(f"{r:.2f}" for r in ratios)
    )
    print("\nfitted to nothing of their runtime:")
    for row in everything:
        if row.runtime in CHECKED:
            ms, published = latency_ms(fit(found), row), row.seen.measured_ms
            print(f"  {row.seen.label} x{row.seen.threads}: {ms:.0f} ms, published {published:.0f}")
    print_gain()
    print_unverified(everything)
    if arguments.write:
        write(found, emulated)


def print_unverified(everything: Sequence[Row]) -> None:
    """Which runtimes on how many threads have no published truth, by board and type."""
    print("\nno published truth (rows: fitted and judged; 'a row': compared, fits nothing):")
    for device in EMULATED:
        cores = CycleModel.of(profiles.load(device)).cores
        for runtime in ("litert", "onnxruntime"):
            for dtype in ("fp32", "int8"):
                said = []
                for threads in range(1, cores + 1):
                    rows_there = [
                        row
                        for row in everything
                        if (row.device, row.dtype, row.seen.threads) == (device, dtype, threads)
                        and (row.runtime in CHECKED) == (runtime == "onnxruntime")
                    ]
                    fits = f"{len(rows_there)} rows" if runtime == "litert" else "a row"
                    said.append(f"x{threads} {fits if rows_there else 'unverified'}")
                print(f"  {device:12}{runtime:12}{dtype:6}" + ", ".join(said))
    print("The rows of the Raspberry Pi 5 do not tell their threads: four are assumed.")


def print_gain() -> None:
    """What int8 gains on the core with the dot product, and on the one without."""
    names = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
    devices = ("rpi4", "rpi5")
    counts = counted(
        Wanted(device, name, dtype) for device in devices for name in names for dtype in ("fp32", "int8")
    )
    print("\nfloat / int8, four threads, as the profiles are now:")
    for name in names:
        gains = {}
        for device in devices:
            board = CycleModel.of(profiles.load(device))
            float_ms, int8_ms = (
                board.price(counts[Wanted(device, name, dtype)], 4).latency.value
                for dtype in ("fp32", "int8")
            )
            gains[device] = float_ms / int8_ms
        print(f"  {name:24}" + ", ".join(f"{device} {gain:.2f}" for device, gain in gains.items()))


if __name__ == "__main__":
    main()
