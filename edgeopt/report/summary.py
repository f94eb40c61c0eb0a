"""The end of `edgeopt optimize` on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.core.objective import ObjectiveName
from edgeopt.report import headline
from edgeopt.report.figures import UNKNOWN, factor, latency, ms, provenance, size

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def summary(
    document: Mapping[str, Any], *, report: Path | None = None, objective: ObjectiveName = "latency"
) -> Group:
    """What got worse, the table, the verdict, the accuracy, and where the report is."""
    from rich.console import Group
    from rich.text import Text

    best = document.get("best")
    parts: list[Any] = []
    if best is not None:
        parts += [Text(f"worse: {line}", style="yellow") for line in headline.worse(document)]
    parts.append(_participants(document))
    if best is not None:
        style = "bold green" if document["verdict"] == "improved" else "bold"
        parts.append(Text(headline.verdict(document, objective), style=style))
        parts.append(Text(headline.accuracy(document, _original_score(document))))
        if promise := headline.promise(document):
            parts.append(Text(promise, style="yellow"))
    else:
        parts.append(Text("No variant meets the limits, the original included.", style="bold red"))
    minutes = (document.get("wall_seconds") or 0) / 60
    provenance = document.get("provenance", "measured")
    parts.append(
        Text(
            f"{document.get('trials')} trials, {document.get('measured')} {provenance}, "
            f"{document.get('failed')} failed, {minutes:.1f} min",
            style="dim",
        )
    )
    if document.get("artifact"):
        parts.append(Text(f"model:  {document['artifact']}"))
    if report is not None and report.exists():
        parts.append(Text(f"report: {report}"))
    return Group(*parts)


def trials_table(rows: Iterable[Mapping[str, Any]], original: Mapping[str, Any] | None = None) -> Table:
    """`T` documents as a table: figures with interval and provenance, drops said to be absolute."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", overflow="fold")
    for heading in ("p50 [95 %]", "speed", "p95", "size", "peak RSS", "drop (absolute)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("provenance", "note"):
        table.add_column(heading, overflow="fold")
    for t in rows:
        comparable = original is not None and t.get("provenance") == original.get("provenance")
        before = headline.value(original, "latency") if original is not None and comparable else None
        after = headline.value(t, "latency")
        lost = t.get("drop")
        table.add_row(
            Text(str(t["name"])),
            latency(t),
            factor(before / after if before and after else None),
            ms(headline.value(t, "p95")),
            size(t.get("size_bytes")),
            size(t.get("peak_rss_bytes")),
            UNKNOWN if lost is None else f"{lost:+.4f}",
            provenance(t),
            Text(
                t.get("reason") or (t.get("latency_note") or "" if t["state"] == "COMPLETE" else t["state"])
            ),
        )
    return table


def _participants(document: Mapping[str, Any]) -> Table:
    original, best = document["baseline"], document.get("best")
    rows = [original, *document["references"]]
    if best is not None and best["name"] not in {row["name"] for row in rows}:
        rows.append(best)
    table = trials_table([row for row in rows if row is not None], original)
    if best is not None:
        for index, row in enumerate(rows):
            if row is not None and row["name"] == best["name"]:
                table.rows[index].style = "bold"
    return table


def _original_score(document: Mapping[str, Any]) -> float | None:
    score = (document.get("baseline") or {}).get("accuracy")
    return None if score is None else float(score)
