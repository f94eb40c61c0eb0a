"""One look for all tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from edgeopt.report.figures import UNKNOWN


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Iterable[str] = (),
) -> Table:
    """A plain table. Cells are shown as they are, never read as markup; None is unknown.

    Args:
        headings: Of the columns.
        rows: Cells of each row.
        title: Above it.
        right: Headings of the columns with numbers.
    """
    result = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title) if title else None, title_justify="left"
    )
    numbers = set(right)
    for index, heading in enumerate(headings):
        result.add_column(
            heading,
            justify="right" if heading in numbers else "left",
            no_wrap=index == 0,
            overflow="fold",
        )
    for row in rows:
        result.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    return result


def _text(cell: object) -> str:
    return UNKNOWN if cell is None else str(cell)
