"""Trials as CSV, for spreadsheets and notebooks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Flat rows as CSV: one column per figure, and one per decision (`decisions` is a mapping).

    Unknown is empty. Text that a spreadsheet would run as a formula is quoted with an apostrophe.
    """
    figures = [name for name in (rows[0] if rows else ()) if name != "decisions"]
    sites = list(dict.fromkeys(site for row in rows for site in row["decisions"]))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*figures, *sites])
    for row in rows:
        values = [row[name] for name in figures] + [row["decisions"].get(site) for site in sites]
        writer.writerow([_cell(value) for value in values])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
