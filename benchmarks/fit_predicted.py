"""Fit the predicted boards to what virtual boards say of ONNX Runtime, and say how wrong they are.

`python benchmarks/fit_predicted.py` prints, for every device with latencies, the fitted factors and how far
they are off: against emulated latencies of networks that were left out of the fit, and, as a check, against
published ones, which are of other runtimes. `--write` replaces the `[model]` section of the profiles. It
needs no emulator: `emulated_latency.py` has written down what that said. A device that cannot be emulated is
fitted to its published latencies.

The factors are fitted per device in log space, each held near a plausible value by a weak prior. The error
bar of a device that was fitted to the emulator is that of networks left out and the emulator's own, in
quadrature.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from predicted_rows import PROFILES, Row, emulated, observed, published
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from edgeopt.boards.roofline import Roofline, last_cache_bytes
from edgeopt.core.profile import DeviceProfile

PRIOR = {
    "efficiency_fp32": (0.6, 0.1),
    "efficiency_int8": (0.7, 0.1),
    "serial_fraction": (0.2, 0.1),
    "traffic_factor": (1.0, 0.3),
}
"""Factor: (plausible value, weight of its prior relative to one row)."""
NODE_OVERHEAD_US = 20.0
"""Dispatch of one node; the published networks are too large to tell."""
DISPATCH = {"node_overhead_us": (NODE_OVERHEAD_US, 0.1)}
"""The emulated ones tell."""
RUNTIMES_LOG_SIGMA = 0.35
"""Spread of log latency between runtimes and sources on one chip."""


@dataclass(frozen=True)
class Fit:
    """What a device's factors are fitted to, and how they come out.

    Attributes:
        left_out: Log of predicted / given of each row, its network left out of the fit.
        own_sigma: Standard deviation of the log error of the latencies themselves.
        own_pairwise: Relative error of the ratio of two variants, of the latencies themselves.
    """

    source: str
    rows: list[Row]
    found: Roofline
    left_out: NDArray[np.float64]
    own_sigma: float
    own_pairwise: float

    def sigma(self, kind: str) -> float:
        """Root mean square of the log error of networks left out, by arithmetic."""
        return rms([e for row, e in zip(self.rows, self.left_out, strict=True) if row.kind == kind])

    def log_sigma(self, kind: str) -> float:
        return math.hypot(self.sigma(kind), self.own_sigma)

    @property
    def ratio_sigma(self) -> float:
        """Of the log of the ratio of two variants of one network, on as many threads."""
        return rms([self.left_out[i] - self.left_out[j] for i, j in variants(self.rows)])

    @property
    def pairwise_error(self) -> float:
        """How far the ratio of two variants is off, relative, one standard deviation."""
        return math.expm1(math.hypot(self.ratio_sigma, math.log1p(self.own_pairwise)))


def residuals(roofline: Roofline, rows: Sequence[Row]) -> NDArray[np.float64]:
    """Log of predicted / given, `(rows,)`."""
    predicted = [
        sum(roofline.time_ms(flops, kind, 0, 0, row.threads) for kind, flops in row.flops.items())
        + roofline.time_ms(0, "float32", row.traffic_bytes, row.nodes, row.threads)
        for row in rows
    ]
    return np.log(predicted) - np.array([row.log_ms for row in rows])


def fit(start: Roofline, rows: Sequence[Row], factors: Mapping[str, tuple[float, float]] = PRIOR) -> Roofline:
    """The factors that fit `rows` best."""
    prior = np.log([value for value, _ in factors.values()])
    weight = np.array([weight for _, weight in factors.values()])

    def at(x: NDArray[np.float64]) -> Roofline:
        return replace(start, **dict(zip(factors, np.exp(x).tolist(), strict=True)))

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([residuals(at(x), rows), weight * (x - prior)])

    return at(least_squares(loss, prior).x)


def left_out(
    start: Roofline, rows: Sequence[Row], factors: Mapping[str, tuple[float, float]]
) -> NDArray[np.float64]:
    """Log of predicted / given of each row, by a fit that saw no row of its network."""
    errors = np.zeros(len(rows))
    for network in dict.fromkeys(row.network for row in rows):
        others = fit(start, [row for row in rows if row.network != network], factors)
        here = [i for i, row in enumerate(rows) if row.network == network]
        errors[here] = residuals(others, [rows[i] for i in here])
    return errors


def variants(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Indices of two rows that differ in the variant of their network only."""
    return [
        (i, j) for i, row in enumerate(rows) for j in range(i) if rows[j].setting == row.setting
    ]  # fmt: skip


def rms(errors: Sequence[float] | NDArray[np.float64]) -> float:
    """Root mean square; 0 of nothing."""
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else 0.0


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


def taken_from(profile: DeviceProfile) -> str | None:
    """Whose factors a profile has that was written with those of another board; None if it has its own."""
    fact = profile.fact("model", "efficiency_fp32")
    return fact.source if fact and fact.source.startswith("taken from") else None


def fitted(profile: DeviceProfile, emulated: list[Row], published: list[Row]) -> Fit:
    """To the emulated latencies, where there are any."""
    start = blank(profile)
    if emulated:
        factors, rows = PRIOR | DISPATCH, emulated
        what = f"emulated latencies of ONNX Runtime, {len({row.network for row in rows})} networks"
        source = f"benchmarks/fit_predicted.py: {len(rows)} {what}"
        own = float(profile.get("emulation", "log_sigma")), float(profile.get("emulation", "pairwise_error"))
    else:
        factors, rows, own = PRIOR, published, (RUNTIMES_LOG_SIGMA, 0.0)
        source = f"benchmarks/fit_predicted.py: {len(rows)} published latencies of other runtimes"
    errors = left_out(start, rows, factors)
    return Fit(source, rows, fit(start, rows, factors), errors, *own)


def section(this: Fit) -> str:
    """The `[model]` section of a profile, as TOML."""
    lines = ["[model]"]
    units = dict.fromkeys(PRIOR, "ratio") | {"node_overhead_us": "us per executed node"}
    for name, unit in units.items():
        value = float(f"{getattr(this.found, name):.4g}")
        lines.append(_fact(name, value, unit, f"fitted by {this.source}"))
    for kind in ("fp32", "int8"):
        origin = (
            f"{this.source}: {this.sigma(kind):.2f} with the network left out, {this.own_sigma:.2f} their own"
        )
        value = round(this.log_sigma(kind), 3)
        lines.append(_fact(f"log_sigma_{kind}", value, "standard deviation of log latency", origin))
    origin = (
        f"{this.source}: {math.expm1(this.ratio_sigma):.2f} for ratios of two variants of a network left out,"
        f" {this.own_pairwise:.2f} their own"
    )
    lines.append(
        _fact("pairwise_error", round(this.pairwise_error, 3), "ratio, one standard deviation", origin)
    )
    return "\n".join(lines) + "\n"


def _fact(name: str, value: float, unit: str, source: str) -> str:
    text = f'value = {value}, unit = "{unit}", source = "{source}", confidence = "medium"'
    return f"{name} = {{ {text} }}"


def print_errors(this: Fit) -> None:
    """By kind of arithmetic, and how well variants and networks are told apart."""
    print(f"{'networks left out':24}{'rows':>5}{'median |error|':>16}{'worst':>8}{'bias':>8}{'sigma':>8}")
    for kind in ("fp32", "int8"):
        print_line(kind, [e for row, e in zip(this.rows, this.left_out, strict=True) if row.kind == kind])
    given = [row.log_ms for row in this.rows]
    predicted = [ms + float(e) for ms, e in zip(given, this.left_out, strict=True)]
    pairs = variants(this.rows)
    right = np.mean([(predicted[i] > predicted[j]) == (given[i] > given[j]) for i, j in pairs])
    print(
        f"variants of one network: {len(pairs)} pairs, {right:.0%} in the right order, ratio off by "
        f"{math.expm1(this.ratio_sigma):.0%}; rank correlation {spearmanr(given, predicted).statistic:.2f}"
    )


def print_line(name: str, logs: Sequence[float]) -> None:
    if len(logs):
        off = np.abs(np.expm1(logs))
        print(
            f"{name:24}{len(logs):5}{np.median(off):16.0%}{off.max():8.0%}"
            f"{math.expm1(float(np.mean(logs))):+8.0%}{rms(logs):8.2f}"
        )


def print_rows(rows: Sequence[Row], errors: Sequence[float]) -> None:
    for row, error in zip(rows, errors, strict=True):
        ms = math.exp(row.log_ms)
        print(
            f"  {row.label:45} {ms:9.3f} ms, predicted {ms * math.exp(error):9.3f} {math.expm1(error):+6.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="replace [model] in the profiles")
    parser.add_argument("--rows", action="store_true", help="print every latency and its prediction")
    arguments = parser.parse_args()
    all_published, all_emulated = published(), emulated()
    for board in dict.fromkeys((*all_emulated, *all_published)):
        path = PROFILES / f"{board}.toml"
        if not path.exists():
            print(f"\n# {board}: {len(all_published[board])} published latencies, no profile yet")
            continue
        profile = DeviceProfile.read(path)
        others = observed(blank(profile), all_published.get(board, []))
        if not all_emulated.get(board) and (taken := taken_from(profile)):
            print(f"\n# {board}: {taken}, not fitted; {len(others)} published latencies, predicted:")
            print_line("  all", residuals(Roofline.of(profile), others).tolist())
            continue
        this = fitted(profile, all_emulated.get(board, []), others)
        model = section(this)
        print(f"\n# {board}\n{model}")
        print_errors(this)
        print("published latencies of other runtimes, predicted:")
        checked = residuals(this.found, others)
        for runtime in dict.fromkeys(row.setting.partition(" ")[0] for row in others):
            for kind in ("fp32", "int8"):
                logs = [
                    e
                    for row, e in zip(others, checked, strict=True)
                    if row.kind == kind and row.setting.startswith(f"{runtime} ")
                ]
                print_line(f"  {runtime} {kind}", logs)
        if arguments.rows:
            print_rows(this.rows, this.left_out.tolist())
            print_rows(others, checked.tolist())
        if arguments.write:
            head = path.read_text(encoding="utf-8").partition("\n[model]\n")[0].rstrip("\n")
            path.write_text(f"{head}\n\n{model}", encoding="utf-8")


if __name__ == "__main__":
    main()
