"""The end of `edgeopt optimize` on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.core.objective import ObjectiveName
from edgeopt.report import headline
from edgeopt.report.trials import TrialsTable

if TYPE_CHECKING:
    from rich.console import Group


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
        parts += [Text(line) for line in headline.interface(document)]
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
    if line := headline.faster_runtime(document):
        parts.append(Text(line, style="yellow"))
    return Group(*parts)


def _participants(document: Mapping[str, Any]) -> TrialsTable:
    original, best = document["baseline"], document.get("best")
    rows = [original, *document["references"]]
    if best is not None and best["name"] not in {row["name"] for row in rows if row is not None}:
        rows.append(best)
    return TrialsTable(
        tuple(row for row in rows if row is not None), original, None if best is None else best["name"]
    )


def _original_score(document: Mapping[str, Any]) -> float | None:
    score = (document.get("baseline") or {}).get("accuracy")
    return None if score is None else float(score)
