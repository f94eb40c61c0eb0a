"""The report: one self-contained page that needs no network, no fonts and no server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeopt import __version__
from edgeopt.core.files import write_atomically
from edgeopt.core.trial import Trial
from edgeopt.report import figures, headline, strip
from edgeopt.report.context import ReportContext
from edgeopt.report.plots.canvas import TITLE
from edgeopt.report.plots.pareto import pareto
from edgeopt.report.plots.progress import progress
from edgeopt.report.plots.ridges import ridges

TEMPLATE = "page.html.j2"


def write_report(
    path: Path, document: Mapping[str, Any], trials: Sequence[Trial], context: ReportContext
) -> None:
    """Write the page of a study, all at once or not at all.

    Args:
        path: Of the page; its folder exists.
        document: The result of `edgeopt optimize`. Its optional `comparisons` (as those of `measure`,
            `a` is the faster one's name) give the factors their intervals.
        trials: All of the study.
        context: What else is known of it.
    """
    write_atomically(path, render(document, trials, context).encode())


def render(document: Mapping[str, Any], trials: Sequence[Trial], context: ReportContext) -> str:
    """The page's HTML. Names that come from models and paths are escaped by the template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": figures.ms,
        "size": figures.size,
        "percent": figures.percent,
        "latency": figures.latency,
        "provenance": figures.provenance,
    }
    objective = context.objective.name
    best = document.get("best")
    allowed = (
        context.objective.max_drop.allowed(context.original_score)
        if context.original_score is not None
        else None
    )
    provenance = document.get("provenance")
    winner = best["trial"] if best else None
    drawn = {
        "pareto": pareto(trials, winner, provenance, allowed),
        "progress": progress(trials, provenance),
        "distributions": ridges(context.samples, _roles(document)),
    }
    return environment.get_template(TEMPLATE).render(
        document=document,
        context=context,
        best=best,
        model=Path(str(document["model"])).name,
        verdict=headline.verdict(document, objective) if best else "No variant meets the limits.",
        accuracy=headline.accuracy(document, context.original_score),
        interface=headline.interface(document),
        changes=headline.changes(document) if best else [],
        worse=_worse(document, context) if best else [],
        won=_won(document, context) if best else [],
        cells=strip.cells(best["decisions"], context.regions) if best else [],
        whole_model=strip.whole_model(best["decisions"]) if best else {},
        decisions=json.dumps(best["decisions"], indent=1, ensure_ascii=False) if best else "",
        rows=[_row(trial, trials) for trial in trials],
        # The only text that is not escaped here: matplotlib escaped what it drew.
        plots={name: svg and Markup(svg) for name, svg in drawn.items()},  # noqa: S704
        version=__version__,
        figure_name=headline.FIGURES[objective][0],
    )


def _worse(document: Mapping[str, Any], context: ReportContext) -> list[str]:
    return list(context.worse) or headline.worse(document)


def _won(document: Mapping[str, Any], context: ReportContext) -> list[dict[str, Any]]:
    """The winner against the original and every reference."""
    best, rows = document["best"], []
    for other in (document["baseline"], *document["references"]):
        figure, interval = headline.ratio(document, best, other, context.objective.name)
        rows.append(
            {
                "t": other,
                "is_best": other["name"] == best["name"],
                "factor": figures.factor(1 / figure if figure else None),
                "is_tie": headline.is_tie(document, best, other, context.objective.name),
                "interval": f"{1 / interval[1]:.2f} – {1 / interval[0]:.2f}"
                if interval and min(interval) > 0
                else "",
                "share": min(1.0, figure) if figure else None,
                "drop": figures.drop(other, context.original_score),
                "change": {
                    name: headline.ratio(document, best, other, name)[0] for name in ("p95", "size", "memory")
                },
            }
        )
    return rows


def _roles(document: Mapping[str, Any]) -> dict[str, str]:
    rows = [document["baseline"], *document["references"], *document.get("pareto", ())]
    roles = {row["name"]: row["kind"] for row in rows if row}
    best = document.get("best")
    return roles | ({best["name"]: "best"} if best and document["verdict"] == "improved" else {})


def _row(trial: Trial, trials: Sequence[Trial]) -> dict[str, Any]:
    """One line of the trials table; numbers stay numbers, for sorting."""
    original = next((t for t in trials if t.kind == "baseline"), None)
    said = trial.measurement
    changed = trial.candidate.changes(original.candidate) if original else dict(trial.candidate.decisions)
    return {
        "number": trial.number,
        "kind": TITLE[trial.kind],
        "name": trial.name,
        "state": trial.state,
        "p50": said.p50_ms if said else None,
        "p50_text": str(said.latency) if said else figures.UNKNOWN,
        "drop": trial.accuracy.drop if trial.accuracy else None,
        "size": trial.artifact.size_bytes if trial.artifact else None,
        "rss": said.peak_rss_bytes if said else None,
        "reason": ("stopped early, hopeless" if said and said.stopped_early else "") or trial.reason or "",
        "changed": _counted(changed),
    }


def _counted(changed: Mapping[str, str]) -> str:
    """`12× int8, 3 rewrites, threads=2`: what a candidate changes, in few words."""
    schemes: dict[str, int] = {}
    rewrites, parts = 0, []
    for site, option in changed.items():
        if site.startswith("precision@"):
            schemes[option] = schemes.get(option, 0) + 1
        elif site.startswith("rewrite:"):
            rewrites += 1
        else:
            parts.append(f"{site.partition(':')[2] or site}={option}")
    counted = [f"{n}× {scheme}" for scheme, n in sorted(schemes.items())]
    return ", ".join(counted + ([f"{rewrites} rewrite{'s' * (rewrites > 1)}"] if rewrites else []) + parts)
