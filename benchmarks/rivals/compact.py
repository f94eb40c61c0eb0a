"""One line a model: time and file of every tool's variant, as shares of the original's as everybody loads it.

    python -m benchmarks.rivals.compact [table.json]

Reads what `python -m benchmarks.rivals` wrote, by default where it writes it; prints the table of
docs/benchmarks.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rivals.build import TOOLS
from benchmarks.rivals.compare import LOADED, OURS, SMALLEST
from benchmarks.rivals.layout import Layout
from benchmarks.rivals.table import ratio, valid

Row = Mapping[str, Any]


def compact(models: Sequence[Row]) -> str:
    """The table in markdown; what loses more than 1 % of the score says how much, in brackets."""
    columns = [*TOOLS, OURS, SMALLEST]
    lines = [["model", "original, ms", *columns], ["---"] * (len(columns) + 2)]
    for model in models:
        original = f"{model['variants'][LOADED]['p50_ms']:.3g}"
        cells = [_cell(model, name) for name in columns]
        lines.append([model["subject"].replace("_", "-"), original, *cells])
    return "\n".join(
        "|" + "|".join(line) + "|" if "---" in line else f"| {' | '.join(line)} |" for line in lines
    )


def _cell(model: Row, name: str) -> str:
    variants = model["variants"]
    if name not in variants:
        return ""
    row, original = variants[name], variants[LOADED]
    if row.get("p50_ms") is None:
        return "fails"
    shares = f"{ratio(model, name, LOADED)[0]:.2f}, {row['size_bytes'] / original['size_bytes']:.2f}"
    lost = (
        ""
        if name in valid(variants)
        else f" (−{row['drop'] / abs(original['score']):.1%})".replace("%", " %")
    )
    return shares + lost


def main() -> None:
    """Print the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Layout.default().root / "table.json"
    print(compact(json.loads(path.read_text())["models"]))


if __name__ == "__main__":
    main()
