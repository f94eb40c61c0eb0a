"""The latencies that predictions are fitted to and checked with, and what each network asks of a board.

Emulated ones are ONNX Runtime's, by `emulated_latency.py`; published ones are other runtimes'.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import published_models

from edgeopt.boards.roofline import Roofline
from edgeopt.core.workload import Compute, NodeCost

PROFILES = Path(__file__).parent.parent / "device_profiles"
PUBLISHED = PROFILES / "published_latency.csv"
EMULATED = PROFILES / "emulated_latency.csv"
EMULATED_COLUMNS = (
    "board", "runtime", "threads", "model", "recipe", "latency_ms", "float32_flops", "int8_flops",
    "traffic_bytes", "nodes",
)  # fmt: skip
COMPUTE: dict[str, tuple[Compute, int]] = {
    "fp32": ("float32", 4),
    "fp16": ("float16", 2),
    "int8": ("int8", 1),
}


@dataclass(frozen=True)
class Row:
    """One latency, and what the network costs as a whole.

    Attributes:
        network: Rows of one are left out of a fit together.
        setting: Rows of one differ in nothing but the variant of their network.
    """

    label: str
    network: str
    setting: str
    flops: Mapping[Compute, int]
    traffic_bytes: float
    nodes: int
    threads: int
    log_ms: float

    @property
    def kind(self) -> str:
        """Most of its arithmetic: `int8`, or else `fp32`."""
        return "int8" if 2 * self.flops.get("int8", 0) > sum(self.flops.values()) else "fp32"


def asked(roofline: Roofline, costs: Sequence[NodeCost]) -> dict[str, float]:
    """What nodes ask of a board; nothing of it depends on fitted factors."""
    cached = roofline.weights_cached(costs)
    int8 = sum(cost.flops for cost in costs if cost.compute == "int8")
    return {
        "float32_flops": sum(cost.flops for cost in costs) - int8,
        "int8_flops": int8,
        "traffic_bytes": round(sum(roofline.traffic_bytes(cost, cached) for cost in costs)),
        "nodes": len(costs),
    }


def published() -> dict[str, list[dict[str, str]]]:
    """The published latencies of each board."""
    return _by_board(PUBLISHED)


def emulated() -> dict[str, list[Row]]:
    """The emulated latencies of each board."""
    return {board: [_emulated(row) for row in rows] for board, rows in _by_board(EMULATED).items()}


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
        found = asked(roofline, costs)
        setting = f"{row['runtime']} {row['model']} x{row['threads']}"
        rows.append(
            Row(
                label=f"{setting} {row['dtype']}",
                network=row["model"],
                setting=setting,
                flops={compute: sum(cost.flops for cost in costs)},
                traffic_bytes=found["traffic_bytes"],
                nodes=len(costs),
                threads=int(row["threads"]),
                log_ms=math.log(float(row["latency_ms"])),
            )
        )
    return rows


def _emulated(row: dict[str, str]) -> Row:
    setting = f"{row['model']} x{row['threads']}"
    return Row(
        label=f"{setting} {row['recipe']}",
        network=row["model"],
        setting=setting,
        flops={"float32": int(row["float32_flops"]), "int8": int(row["int8_flops"])},
        traffic_bytes=float(row["traffic_bytes"]),
        nodes=int(row["nodes"]),
        threads=int(row["threads"]),
        log_ms=math.log(float(row["latency_ms"])),
    )


def _by_board(path: Path) -> dict[str, list[dict[str, str]]]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as stream:
        rows: dict[str, list[dict[str, str]]] = {}
        for row in csv.DictReader(stream):
            rows.setdefault(row["board"], []).append(row)
    return rows
