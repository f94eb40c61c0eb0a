"""What each decision of a winner brings, as JSON and as a table of the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.core.quantity import Quantity
from edgeopt.report.figures import UNKNOWN

if TYPE_CHECKING:
    from rich.console import RenderableType

Effects = Mapping[str, Quantity]

KEYS = {"latency": "latency_ms", "size": "size_bytes", "energy": "energy_mj", "drop": "drop"}
"""Figure -> its key in the document, named as in the contract's `T`."""
NEGLIGIBLE = 1e-12
MOST_ROWS = 24
"""Of the terminal's table: who has hundreds of decisions looks for the few that matter."""


@dataclass(frozen=True, slots=True)
class Row:
    """One decision, or one that repeated blocks share; `effects` are the winner's figures less those of the
    winner without it."""

    name: str
    sites: tuple[str, ...]
    option: str
    instead_of: str
    effects: Effects
    reason: str | None = None


def with_shares(rows: Sequence[Row], whole: Effects) -> list[dict[str, Any]]:
    """The JSON form of each row; a share is a part of the whole's change."""
    return [
        {
            "decision": row.name,
            "sites": list(row.sites),
            "option": row.option,
            "instead_of": row.instead_of,
            "reason": row.reason,
            **{key: _figure(row.effects.get(name), whole.get(name)) for name, key in KEYS.items()},
        }
        for row in rows
    ]


def total(whole: Effects) -> dict[str, Any]:
    """What all decisions change at once: the winner's figures less the original's."""
    return {key: _figure(whole.get(name), whole.get(name)) for name, key in KEYS.items()}


def together(rows: Sequence[Row], whole: Effects) -> dict[str, Any]:
    """What of the whole no decision brings alone, by figure.

    None where a share is unknown, or where shares and whole have different provenance: what is measured and
    what is predicted do not add up.
    """
    found: dict[str, Any] = {}
    for name, key in KEYS.items():
        all_of = whole.get(name)
        parts = [row.effects.get(name) for row in rows]
        known = [part for part in parts if part is not None]
        if all_of is None or len(known) < len(parts) or any(p.provenance != all_of.provenance for p in known):
            found[key] = None
            continue
        rest = all_of.value - sum(part.value for part in known)
        # Errors of the parts and of the whole, as if each were drawn by itself.
        reach = math.sqrt(sum(((p.high - p.low) / 2) ** 2 for p in (all_of, *known)))
        quantity = Quantity(rest, all_of.unit, rest - reach, rest + reach, all_of.provenance, all_of.source)
        found[key] = _figure(quantity, all_of)
    return found


def _figure(quantity: Quantity | None, whole: Quantity | None) -> dict[str, Any] | None:
    if quantity is None:
        return None
    known = math.isfinite(quantity.low) and math.isfinite(quantity.high)
    # A share of a whole of another provenance would compare what must not be compared.
    comparable = (
        whole is not None and whole.provenance == quantity.provenance and abs(whole.value) > NEGLIGIBLE
    )
    return {
        "value": quantity.value,
        "ci95": [quantity.low, quantity.high] if known else None,
        "share": quantity.value / whole.value if comparable and whole is not None else None,
        "provenance": quantity.provenance,
        "source": quantity.source,
    }


def view(document: Mapping[str, Any]) -> RenderableType:
    """The document for people: the largest gain first."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = Text(f"{document['winner']} (trial {document['trial']}) on {document['board']}", style="bold")
    rows = document["decisions"]
    if not rows:
        return Group(
            title, Text("It decides nothing otherwise than the original: there is nothing to explain.")
        )
    shown = {key: heading for key, heading in HEADINGS.items() if document["total"][key] is not None}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("decision", overflow="fold")
    for heading in shown.values():
        table.add_column(heading, justify="right", no_wrap=True)
    telling = sorted(rows, key=_telling, reverse=True)
    for row in sorted(telling[:MOST_ROWS], key=_order):
        label = Text(f"{row['decision']}: {row['option']}")
        if row["reason"]:
            label.append(f" ({row['reason']})", style="dim")
        table.add_row(label, *(_cell(key, row[key]) for key in shown))
    if others := telling[MOST_ROWS:]:
        most = others[0]["latency_ms"]
        each = f", each {abs(most['value']):.2g} ms at most" if most else ""
        table.add_row(Text(f"{len(others)} others{each} (--json tells them)", style="dim"))
    table.add_section()
    table.add_row(Text("together"), *(_cell(key, document["together"][key]) for key in shown))
    table.add_row(
        Text("all"), *(_cell(key, document["total"][key], share=False) for key in shown), style="bold"
    )
    return Group(title, table, *(Text(line, "dim") for line in _notes(document, shown)))


HEADINGS = {"latency_ms": "ms", "size_bytes": "size", "energy_mj": "mJ", "drop": "drop\n(absolute)"}
MARKS = {"measured": "", "emulated": " e", "predicted": " p"}


def _telling(row: Mapping[str, Any]) -> float:
    """How much a row tells: what could not be turned back comes first."""
    figure = row["latency_ms"]
    return abs(figure["value"]) if figure else math.inf


def _order(row: Mapping[str, Any]) -> tuple[float, str]:
    figure = row["latency_ms"]
    return (figure["value"] if figure else math.inf, row["decision"])


def _cell(key: str, figure: Mapping[str, Any] | None, *, share: bool = True) -> str:
    if figure is None:
        return UNKNOWN
    value, ends = figure["value"] + 0.0, figure["ci95"]  # no negative zero
    if key == "size_bytes":
        text = f"{value / 1e3:+.1f} kB" if abs(value) >= 1e3 else f"{value:+.0f} B"
    elif key == "drop":
        text = f"{value:+.4f}"
    else:
        text = f"{value:+.3g}"
    part = f" {figure['share'] + 0.0:.0%}" if share and figure["share"] is not None else ""
    noise = " ~" if ends and ends[0] < 0 < ends[1] else ""
    return f"{text}{part}{noise}{MARKS[figure['provenance']]}".replace("-", "−")


def _notes(document: Mapping[str, Any], shown: Mapping[str, str]) -> list[str]:
    rows = [*document["decisions"], document["together"], document["total"]]
    figures = [row[key] for row in rows for key in shown if row[key] is not None]
    used = {figure["provenance"] for figure in figures}
    lines = ["Each row: the winner less itself with the original's answer there; % of the whole change."]
    if any(f["ci95"] and f["ci95"][0] < 0 < f["ci95"][1] for f in figures):
        lines.append("~ may as well be nothing: the 95 % interval holds 0.")
    if "emulated" in used:
        lines.append("e emulated: priced on a virtual board.")
    if "predicted" in used:
        lines.append(
            "p predicted: by the surrogate, from the study's trials. --measure builds and measures each."
        )
    if any(document["together"][key] is None for key in shown):
        lines.append(
            "together: what no decision brings alone; – where a share is unknown, or told by other means."
        )
    return lines
