"""`T` documents as a table of the terminal: in one line each, with as many columns as there is room for.

What would widen a column for one row stands below the table once: a note on a core that was shared, and a
reason, by its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.report import headline
from edgeopt.report.figures import UNKNOWN, factor, latency, ms, provenance, size

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

Row = Mapping[str, Any]

NAME, P50, DROP, PROVENANCE, NOTE = "name", "p50 [95 %]", "drop\n(absolute)", "provenance", "note"
DISPENSABLE = ("p95", "peak RSS", "size", DROP, "speed")
"""Left out, in this order, where the terminal is too narrow for all."""
GAP = 3
LEAST_NAME = 16
"""Longer names are folded before a column is left out."""


@dataclass(frozen=True, slots=True)
class TrialsTable:
    """A table for `rich`, which tells how wide it may be.

    Attributes:
        rows: `T` documents.
        original: What `speed` is a multiple of; None where there is none.
        best: Name of the row to stand out.
    """

    rows: Sequence[Row]
    original: Row | None = None
    best: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        columns, below = self._columns()
        columns, left_out = _fitting(columns, options.max_width)
        yield self._table(columns)
        if left_out:
            names = ", ".join(name.replace("\n", " ") for name in left_out)
            yield Text(f"no room for {names}: a wider terminal, or --json, has them", "dim")
        yield from (Text(line, "dim") for line in below)

    def _columns(self) -> tuple[dict[str, list[str]], list[str]]:
        """Cells by heading, and the lines below the table."""
        notes = _Notes()
        columns = {
            NAME: [str(t["name"]) for t in self.rows],
            P50: [latency(t) for t in self.rows],
            "speed": [self._speed(t) for t in self.rows],
            "p95": [ms(headline.value(t, "p95")) for t in self.rows],
            "size": [size(t.get("size_bytes")) for t in self.rows],
            "peak RSS": [size(t.get("peak_rss_bytes")) for t in self.rows],
            DROP: [UNKNOWN if t.get("drop") is None else f"{t['drop']:+.4f}" for t in self.rows],
            PROVENANCE: [provenance(t) for t in self.rows],
            NOTE: [notes.cell(t) for t in self.rows],
        }
        kept = {
            name: cells
            for name, cells in columns.items()
            if name in (NAME, P50) or any(cell not in (UNKNOWN, "") for cell in cells)
        }
        below = list(notes)
        known = {cell for cell in columns[PROVENANCE] if cell != UNKNOWN}
        if len(known) == 1:
            del kept[PROVENANCE]
            below.insert(0, f"All figures are {known.pop()}.")
        return kept, below

    def _speed(self, t: Row) -> str:
        if self.original is None or t.get("provenance") != self.original.get("provenance"):
            return UNKNOWN
        before, after = headline.value(self.original, "latency"), headline.value(t, "latency")
        return factor(before / after if before and after else None)

    def _table(self, columns: Mapping[str, Sequence[str]]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in columns:
            is_text = heading in (NAME, PROVENANCE, NOTE)
            table.add_column(
                heading,
                justify="left" if is_text else "right",
                no_wrap=not is_text,
                overflow="fold",
                min_width=min(LEAST_NAME, _width(columns[NAME])) if heading == NAME else None,
            )
        for t, *cells in zip(self.rows, *columns.values(), strict=True):
            style = "bold" if self.best is not None and t["name"] == self.best else None
            table.add_row(*map(Text, cells), style=style)
        return table


class _Notes:
    """What is below the table, by the marks that rows carry; iterating gives its lines."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def cell(self, t: Row) -> str:
        state = "" if t["state"] == "COMPLETE" else str(t["state"])
        if reason := t.get("reason"):
            return f"{state} {self._mark(str(reason))}".strip()
        note, share = t.get("latency_note"), t.get("contended")
        if state or not note:
            return state
        if share is None:
            return self._mark(note)
        # Of many rows the share differs, and what follows from it does not.
        return f"shared {share:.0%} {self._mark(note.replace(f'{share:.0%}', 'so much', 1))}"

    def _mark(self, text: str) -> str:
        if text not in self._texts:
            self._texts.append(text)
        return f"[{self._texts.index(text) + 1}]"

    def __iter__(self) -> Iterator[str]:
        return (f"[{number}] {text}" for number, text in enumerate(self._texts, 1))


def _fitting(columns: dict[str, list[str]], width: int) -> tuple[dict[str, list[str]], list[str]]:
    """The columns for which there is room, and the names of the others."""
    kept, left_out = dict(columns), []
    for name in DISPENSABLE:
        if _least(kept) <= width:
            break
        if kept.pop(name, None) is not None:
            left_out.append(name)
    return kept, left_out


def _least(columns: Mapping[str, Sequence[str]]) -> int:
    widths = [max(_width(name.split("\n")), _width(cells)) for name, cells in columns.items() if name != NAME]
    return sum(widths) + min(LEAST_NAME, _width(columns[NAME])) + GAP * len(widths) + 2


def _width(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, texts), default=0)
