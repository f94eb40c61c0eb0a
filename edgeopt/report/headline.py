"""What a result means, in words: from the result document alone, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt.core.objective import ObjectiveName
from edgeopt.report.figures import UNKNOWN, ms, percent, size
from edgeopt.report.ratio import modelled_ratio

Document = Mapping[str, Any]

FIGURES: Mapping[str, tuple[str, str]] = {
    "latency": ("median latency", "faster"),
    "p95": ("95th percentile", "faster"),
    "cold-start": ("cold start", "faster to start"),
    "energy": ("energy per inference", "less energy"),
    "memory": ("peak memory", "less memory"),
    "size": ("file size", "smaller"),
    "utilization": ("time over the board's peak arithmetic", "closer to the board's peak"),
}
"""Of each objective: what it is called, and what having less of it is called."""


WITHIN = "closer than the model's error"
EXACT = ("memory", "size")
"""Figures that no model prices."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure, before and after. `ratio` is after / before."""

    figure: str
    before: str
    after: str
    ratio: float | None

    @property
    def percent(self) -> str:
        return percent(self.ratio - 1 if self.ratio is not None else None)

    @property
    def direction(self) -> str:
        """`better`, `worse` or `same` (within half a percent)."""
        if self.ratio is None or abs(self.ratio - 1) <= 0.005:
            return "same"
        return "better" if self.ratio < 1 else "worse"


def value(t: Document, figure: str) -> float | None:
    """The figure of an objective's name in a `T` document."""
    latency = t.get("latency_ms") or {}
    found = {
        "latency": latency.get("p50"),
        "p95": latency.get("p95"),
        "cold-start": t.get("cold_start_ms"),
        "energy": t.get("energy_mj"),
        "memory": t.get("peak_rss_bytes"),
        "size": t.get("size_bytes"),
        "utilization": 1 / fraction if (fraction := t.get("roofline_fraction")) else None,
    }[figure]
    return None if found is None else float(found)


def ratio(document: Document, a: Document, b: Document, figure: str) -> tuple[float | None, Any]:
    """a / b of a figure, with its interval where the final stage gave one; None across provenances.

    Figures that were not measured have the interval of their model's error between variants of one model.
    """
    if figure != "size" and a.get("provenance") != b.get("provenance"):
        return None, None
    if figure == "latency":
        for row in document.get("comparisons") or ():
            if (row["a"], row["b"]) == (a["name"], b["name"]):
                return row["ratio_p50"], row["ci95"]
    x, y = value(a, figure), value(b, figure)
    if x is None or not y:
        return None, None
    error = document.get("pairwise_error")
    if not error or figure in EXACT or document.get("provenance") == "measured":
        return x / y, None
    found, *interval = modelled_ratio(x / y, error)
    return found, interval


def changes(document: Document) -> list[Change]:
    """Every figure of the best, against the original's."""
    best, original = document["best"], document["baseline"]
    rows = []
    for figure, (title, _) in FIGURES.items():
        before, after = value(original, figure), value(best, figure)
        if before is None and after is None:
            continue
        rows.append(
            Change(
                title,
                written(figure, before),
                written(figure, after),
                ratio(document, best, original, figure)[0],
            )
        )
    return rows


def worse(document: Document) -> list[str]:
    """What the best has more of than the original, in words. Shown before anything that was won."""
    return [
        f"{c.figure} is {c.percent} worse than the original's ({c.before} → {c.after})"
        for c in changes(document)
        if c.direction == "worse"
    ]


def interface(document: Document) -> list[str]:
    """How the best is fed otherwise than the original, a sentence for each input that changed."""
    return [
        f"Input {change['name']} is now {_taken(change['to'])}, it was {_taken(change['from'])}: "
        f"{change['how']}. {INTERFACE[change['levels'] is not None]}"
        for change in (document.get("best") or {}).get("interface", ())
    ]


INTERFACE = {
    True: "The best was timed with bytes, the original with its floats: to convert to floats before "
    "inference is no longer needed, and that time is in neither figure.",
    False: "Each was timed with its own layout: to reorder before inference is in neither figure.",
}


def _taken(spec: Mapping[str, Any]) -> str:
    return f"{spec['dtype']}{spec['shape']}"


def best_reference(document: Document, figure: str) -> Document | None:
    """The feasible reference that is best on a figure."""
    feasible = [
        r for r in document["references"] if r["state"] == "COMPLETE" and value(r, figure) is not None
    ]
    return min(feasible, key=lambda r: value(r, figure) or 0.0, default=None)


def gain(document: Document, a: Document, b: Document, figure: ObjectiveName, than: str) -> str:
    """`1.42× faster than the original (95 %: 1.38–1.47)`, or what else is true of a against b."""
    found, interval = ratio(document, a, b, figure)
    if found is None or found <= 0:
        return f"not comparable with {than}"
    span = _span(document, interval)
    if a["name"] == b["name"]:
        return f"the same as {than}"
    if is_tie(document, a, b, figure):
        return f"a tie with {than}: {1 / found:.2f}×, {WITHIN}"
    if found < 1:
        return f"{1 / found:.2f}× {FIGURES[figure][1]} than {than}{span}"
    return f"{1 / found:.2f}× as {_word(figure)} as {than}{span}"


def is_tie(document: Document, a: Document, b: Document, figure: str) -> bool:
    """Whether figures that were not measured are closer than their model may be off."""
    found, interval = ratio(document, a, b, figure)
    modelled = document.get("provenance", "measured") != "measured"
    return modelled and found is not None and interval is not None and interval[0] <= 1 <= interval[1]


def _span(document: Document, interval: Any) -> str:
    """The interval of a factor: of repetitions where it was measured, of the model's error elsewhere."""
    if not interval or min(interval) <= 0:
        return ""
    what = "95 %" if document.get("provenance", "measured") == "measured" else "model error"
    return f" ({what}: {1 / interval[1]:.2f}–{1 / interval[0]:.2f})"


def promise(document: Document) -> str | None:
    """What a result that was not measured does not promise, and what would."""
    provenance = document.get("provenance", "measured")
    if provenance == "measured":
        return None
    return (
        f"These figures are {provenance}: never worse is promised for measured ones only. "
        "edgeopt confirm DIR --board NAME measures the best on hardware."
    )


def verdict(document: Document, figure: ObjectiveName = "latency") -> str:
    """The result in one sentence."""
    best, original = document["best"], document["baseline"]
    doubt = "the noise" if document.get("provenance") == "measured" else "the model's error"
    if document["verdict"] == "original":
        return f"The original is kept: nothing was better beyond {doubt}."
    against = gain(document, best, original, figure, "the original")
    if document["verdict"] == "reference":
        return (
            f"The well-known recipe {best['name']} is kept: {against}. No candidate beat it beyond {doubt}."
        )
    reference = best_reference(document, figure)
    if reference is None:
        return f"Improved: {against}."
    recipe = gain(document, best, reference, figure, f"the best recipe, {reference['name']}")
    return f"Improved: {against}; {recipe}."


def accuracy(document: Document, original_score: float | None = None) -> str:
    """What is known of the accuracy, with n and bound, and whether a drop is absolute or relative."""
    said = document.get("accuracy") or {}
    status = said.get("status")
    if status in (None, "unverified") or said.get("basis") in (None, "none"):
        return "Accuracy unverified: there was no data to check it with."
    basis = "labels" if said["basis"] == "labels" else "agreement with the original's outputs"
    parts = [f"Accuracy {status}" if status == "established" else "Accuracy not established"]
    lost, bound = said.get("drop"), said.get("bound")
    if lost is not None:
        relative = f" ({lost / original_score:+.2%} relative)" if original_score else ""
        parts.append(f"drop {lost:+.4f} absolute{relative}")
    if bound is not None:
        parts.append(f"95 % upper bound {bound:+.4f} absolute")
    parts.append(f"n = {said.get('n')} samples, by {basis}")
    place = said.get("verified_on")
    if place == "board" and document.get("provenance") == "emulated":
        place = "virtual board"
    apart = said.get("disagreement")
    seen = f" (its score of a sample is {apart:.2g} off this machine's on average)" if apart else ""
    return ", ".join(parts) + (
        f", verified on the {place}{seen}." if place else ", not verified on the board."
    )


def written(figure: str, found: float | None) -> str:
    """A figure with its unit."""
    if found is None:
        return UNKNOWN
    if figure == "energy":
        return f"{found:.3g} mJ"
    if figure == "utilization":
        return f"{found:.3g}"
    return size(found) if figure in ("memory", "size") else ms(found)


def _word(figure: str) -> str:
    return {"latency": "fast", "p95": "fast", "cold-start": "fast to start"}.get(figure, "frugal")


def faster_runtime(document: Document) -> str | None:
    """That another runtime is worth a try, and how; None where it is not, or was asked for."""
    found = document.get("faster_runtime")
    if not found:
        return None
    how = f": {found['command']}" if found["command"] else ", with --runtime auto"
    provenance = document.get("provenance", "measured")
    return (
        f"{found['reference']} takes {100 * (1 - found['ratio']):.0f} % less time ({provenance}) than the "
        f"best reference here; to search there too{how}"
    )
