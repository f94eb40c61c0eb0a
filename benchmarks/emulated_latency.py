"""Price what virtual boards counted of ONNX Runtime: the latencies that predictions are fitted to.

`python benchmarks/emulated_latency.py` writes `device_profiles/emulated_latency.csv`: networks of the kinds
that people deploy, as they are and by edgeopt's recipes, on 1, 2 and 4 threads of every board that can be
emulated; and what the roofline knows of each. What was counted once is not counted again; the first time
takes QEMU some 20 minutes. Run it again when `[emulation]` of a profile has changed, and then
`fit_predicted.py --write`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from deployed_networks import NETWORKS, made, recipes
from emulation_counts import Wanted, counted
from fit_predicted import blank
from predicted_rows import EMULATED, EMULATED_COLUMNS, asked

from edgeopt.boards import profiles
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.graph.workload import workload

BOARDS = ("rpi4", "rpi5", "rpi3bplus", "rpi-zero2w")
"""The last has the core and the caches of the one before: nothing is counted for it."""

THREADS = (1, 2, 4)


def rows(board: str) -> list[dict[str, object]]:
    """Every network and recipe on one board."""
    profile = profiles.load(board)
    pricing, roofline = CycleModel.of(profile), blank(profile)
    found: list[dict[str, object]] = []
    wanted = [Wanted(board, name, recipe, "onnxruntime") for name in NETWORKS for recipe in recipes(name)]
    for one, counts in counted(wanted).items():
        artifact, feeds = made(one.model, one.dtype)
        costs = workload(artifact, {name: array.shape for name, array in feeds.items()})
        for threads in THREADS:
            ms = pricing.price(counts, threads).latency.value
            found.append(
                {
                    "board": board, "runtime": "onnxruntime", "threads": threads, "model": one.model,
                    "recipe": one.dtype, "latency_ms": f"{ms:.5g}", **asked(roofline, costs),
                }
            )  # fmt: skip
    return found


def write(path: Path) -> None:
    """The table, whole."""
    table = [row for board in BOARDS for row in rows(board)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, EMULATED_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    write(EMULATED)
