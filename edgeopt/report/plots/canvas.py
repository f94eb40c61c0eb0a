"""One pair of axes as inline SVG, whose colours follow the page's light or dark theme."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeopt.core.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Drawn in these, replaced by the page's variables: an inline SVG may use var() in its styles.
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
BEST, REFERENCE, ORIGINAL, CANDIDATE, REJECTED = "#050505", "#060606", "#070707", "#080808", "#090909"
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--card", BEST: "--best",
    REFERENCE: "--reference", ORIGINAL: "--original", CANDIDATE: "--candidate", REJECTED: "--rejected",
}  # fmt: skip

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with a dollar sign is a name
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": INK,
}

_OPENING = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    r'viewBox="\1" role="img" aria-label="TITLE">'
)

COLOUR = {"baseline": ORIGINAL, "reference": REFERENCE, "candidate": CANDIDATE}
SHAPE = {"baseline": "D", "reference": "s", "candidate": "o"}
TITLE = {"baseline": "original", "reference": "reference", "candidate": "candidate"}


def svg(draw: Callable[[Axes], None], name: str, inches: tuple[float, float]) -> str:
    """What `draw` draws, as an `<svg>` element; the same data give the same text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the fonts that count
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        unset: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=unset, transparent=True)
    return _inline(stream.getvalue(), name)


def timed(trials: Sequence[Trial], provenance: str | None) -> list[Trial]:
    """Trials whose latency may be compared: measured in full, and of one provenance."""
    return [
        t
        for t in trials
        if t.measurement and t.measurement.provenance == provenance and not t.measurement.stopped_early
    ]


def p50_ms(trial: Trial) -> float:
    """The median latency of a trial that `timed` let through."""
    return trial.measurement.p50_ms if trial.measurement else float("nan")


def marker(axes: Axes, x: float, y: float, trial: Trial, area: float) -> None:
    """One trial: its kind as shape and colour, hollow if it breaks a limit."""
    complete = trial.state == "COMPLETE"
    colour = COLOUR[trial.kind] if complete else REJECTED
    face = colour if complete else "none"
    axes.scatter(
        [x], [y], s=area, marker=SHAPE[trial.kind], facecolor=face, edgecolor=colour, alpha=0.85, zorder=3
    )


def level(axes: Axes, y: float, colour: str, text: str) -> None:
    """A dashed line across, named in the right margin."""
    axes.axhline(y, color=colour, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        text, (1, y), xycoords=("axes fraction", "data"), ha="left", va="center", color=colour,
        textcoords="offset points", xytext=(6, 0),
    )  # fmt: skip


def legend(axes: Axes, shown: Sequence[Trial]) -> None:
    """Above the axes: the kinds that are there, and the line of the best."""
    from matplotlib.lines import Line2D

    def handle(kind: str, label: str, face: str, edge: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=SHAPE[kind], color=face, markeredgecolor=edge, label=label)

    kinds = [kind for kind in SHAPE if any(t.kind == kind for t in shown)]
    handles = [handle(kind, TITLE[kind], COLOUR[kind], COLOUR[kind]) for kind in kinds]
    if any(t.state != "COMPLETE" for t in shown):
        handles.append(handle("candidate", "breaks a limit", "none", REJECTED))
    handles.append(Line2D([], [], color=BEST, linewidth=1.8, label="best"))
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=len(handles), fontsize=9.5,
        handletextpad=0.3, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def _inline(text: str, name: str) -> str:
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Two plots in one page must not share identifiers.
    text = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', _OPENING.replace("TITLE", name), text, count=1)
