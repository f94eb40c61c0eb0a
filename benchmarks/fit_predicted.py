"""Fit the predicted boards to published latencies, and say how wrong they are.

`python benchmarks/fit_predicted.py` prints, for every device with published latencies, the fitted factors and
their leave-one-out error; `--write` replaces the `[model]` section of its profile with them.

Five factors are fitted per device in log space, each held near a plausible value by a weak prior, since
eleven to twenty rows of nine networks cannot settle five factors alone. The error bar is the
leave-one-out error, but never less than the disagreement between runtimes on one chip: edgeopt
predicts ONNX Runtime, the rows come from others.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import published_models
from numpy.typing import NDArray
from scipy.optimize import least_squares

from edgeopt.boards.roofline import Roofline, last_cache_bytes
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.workload import Compute, NodeCost

PROFILES = Path(__file__).parent.parent / "device_profiles"
PRIOR = {
    "efficiency_fp32": (0.6, 0.1),
    "efficiency_int8": (0.7, 0.1),
    "serial_fraction": (0.2, 0.1),
    "traffic_factor": (1.0, 0.3),
}
"""Factor: (plausible value, weight of its prior relative to one published row)."""
NODE_OVERHEAD_US = 20.0
"""Dispatch of one node; fitted together with the rest it stays near the prior, so it is not fitted."""
RUNTIMES_LOG_SIGMA = 0.35
"""Spread of log latency between runtimes and sources on one chip."""
COMPUTE: dict[str, tuple[Compute, int]] = {
    "fp32": ("float32", 4),
    "fp16": ("float16", 2),
    "int8": ("int8", 1),
}


@dataclass(frozen=True)
class Row:
    """One published latency, and what the network costs as a whole."""

    label: str
    setting: str
    flops: int
    compute: Compute
    traffic_bytes: float
    nodes: int
    threads: int
    log_ms: float


def published() -> dict[str, list[dict[str, str]]]:
    """The published latencies of each board."""
    with (PROFILES / "published_latency.csv").open(encoding="utf-8") as stream:
        rows: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(stream):
            rows.setdefault(row["board"], []).append(row)
    return rows


def observed(roofline: Roofline, published: list[dict[str, str]]) -> list[Row]:
    """What each published network asks of this board; nothing of it depends on the fitted factors."""
    rows = []
    for row in published:
        compute, size = COMPUTE[row["dtype"]]
        build, _ = published_models.NETWORKS[row["model"]]
        costs = [
            NodeCost(
                "", "", 2 * layer.macs, (layer.params + layer.read) * size, layer.write * size, compute,
                layer.params * size,
            )
            for layer in build().layers
        ]  # fmt: skip
        cached = roofline.weights_cached(costs)
        setting = f"{row['runtime']} {row['model']} x{row['threads']}"
        rows.append(
            Row(
                label=f"{setting} {row['dtype']}",
                setting=setting,
                flops=sum(cost.flops for cost in costs),
                compute=compute,
                traffic_bytes=sum(roofline.traffic_bytes(cost, cached) for cost in costs),
                nodes=len(costs),
                threads=int(row["threads"]),
                log_ms=math.log(float(row["latency_ms"])),
            )
        )
    return rows


def residuals(roofline: Roofline, rows: list[Row]) -> NDArray[np.float64]:
    """Log of predicted / published, `(rows,)`."""
    predicted = [
        roofline.time_ms(row.flops, row.compute, row.traffic_bytes, row.nodes, row.threads) for row in rows
    ]
    return np.log(predicted) - np.array([row.log_ms for row in rows])


def fit(start: Roofline, rows: list[Row]) -> Roofline:
    """The factors that fit `rows` best."""
    prior = np.log([value for value, _ in PRIOR.values()])
    weight = np.array([weight for _, weight in PRIOR.values()])

    def at(x: NDArray[np.float64]) -> Roofline:
        return replace(start, **dict(zip(PRIOR, np.exp(x).tolist(), strict=True)))

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([residuals(at(x), rows), weight * (x - prior)])

    return at(least_squares(loss, prior).x)


def leave_one_out(start: Roofline, rows: list[Row]) -> dict[str, float]:
    """Root mean square of the log error of every row when predicted without it, by arithmetic."""
    errors: dict[str, list[float]] = {"fp32": [], "int8": []}
    for i, row in enumerate(rows):
        others = fit(start, rows[:i] + rows[i + 1 :])
        errors["int8" if row.compute == "int8" else "fp32"].append(float(residuals(others, [row])[0]))
    return {kind: float(np.sqrt(np.mean(np.square(found)))) for kind, found in errors.items()}


def pairwise_error(start: Roofline, rows: list[Row]) -> float:
    """How far the predicted ratio float / int8 of one network is off, as a fraction (root mean square).

    Both rows of a pair are left out of the fit that predicts them. This is how well two *candidates* of one
    model are told apart, where what is wrong for the whole network cancels.
    """
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.setting, []).append(i)
    errors = []
    for pair in groups.values():
        if len(pair) == 2:
            others = fit(start, [row for i, row in enumerate(rows) if i not in pair])
            one, other = residuals(others, [rows[i] for i in pair])
            errors.append(one - other)
    return float(np.exp(np.sqrt(np.mean(np.square(errors)))) - 1)


def blank(profile: DeviceProfile) -> Roofline:
    """The device's known rates with nothing fitted yet."""
    known = {f.name: profile.get(s, f.name) for f in fields(Roofline) for s in ("cpu", "memory")
             if profile.get(s, f.name) is not None}  # fmt: skip
    half = "asimdhp" in profile.get("cpu", "features")
    unfitted = {name: value for name, (value, _) in PRIOR.items()}
    return Roofline(
        **known, **unfitted, cache_bytes=last_cache_bytes(profile), node_overhead_us=NODE_OVERHEAD_US,
        float16_arithmetic=half, log_sigma_fp32=RUNTIMES_LOG_SIGMA, log_sigma_int8=RUNTIMES_LOG_SIGMA,
    )  # fmt: skip


def section(fitted: Roofline, error: dict[str, float], pairwise: float, rows: int) -> str:
    """The `[model]` section of a profile, as TOML."""
    source = f"fitted by benchmarks/fit_predicted.py to {rows} published latencies"
    lines = ["[model]"]
    units = dict.fromkeys(PRIOR, "ratio") | {"node_overhead_us": "us per executed node"}
    for name, unit in units.items():
        lines.append(_fact(name, round(getattr(fitted, name), 3), unit, source, "medium"))
    for kind, found in error.items():
        value = round(max(found, RUNTIMES_LOG_SIGMA), 3)
        origin = f"{source}: leave-one-out error {found:.2f}, runtimes differ by {RUNTIMES_LOG_SIGMA}"
        lines.append(_fact(f"log_sigma_{kind}", value, "standard deviation of log latency", origin, "medium"))
    origin = f"{source}: ratios of float to int8 of one network, predicted without either"
    lines.append(
        _fact("pairwise_error", round(pairwise, 3), "ratio, one standard deviation", origin, "medium")
    )
    return "\n".join(lines) + "\n"


def _fact(name: str, value: float, unit: str, source: str, confidence: str) -> str:
    text = f'value = {value}, unit = "{unit}", source = "{source}", confidence = "{confidence}"'
    return f"{name} = {{ {text} }}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace [model] in the profiles")
    write = parser.parse_args().write
    for board, latencies in published().items():
        path = PROFILES / f"{board}.toml"
        if not path.exists():
            print(f"{board}: {len(latencies)} published latencies, no profile yet")
            continue
        start = blank(DeviceProfile.read(path))
        rows = observed(start, latencies)
        fitted, error = fit(start, rows), leave_one_out(start, rows)
        model = section(fitted, error, pairwise_error(start, rows), len(rows))
        print(f"\n# {board}\n{model}")
        for row, residual in zip(rows, residuals(fitted, rows), strict=True):
            ms = math.exp(row.log_ms)
            print(f"{row.label:45} published {ms:7.1f} ms, predicted {ms * math.exp(residual):7.1f}")
        if write:
            head = path.read_text(encoding="utf-8").partition("\n[model]\n")[0].rstrip("\n")
            path.write_text(f"{head}\n\n{model}", encoding="utf-8")


if __name__ == "__main__":
    main()
