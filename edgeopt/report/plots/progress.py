"""How the search went."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from edgeopt.core.trial import Trial
from edgeopt.report.plots.canvas import BEST, ORIGINAL, REFERENCE, legend, level, marker, p50_ms, svg, timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def progress(trials: Sequence[Trial], provenance: str | None) -> str | None:
    """Latency of each trial in order, the best so far, and the level that the references set.

    Returns:
        SVG text, or None where there is nothing to draw.
    """
    shown = timed(trials, provenance)
    complete = [t for t in shown if t.state == "COMPLETE"]
    if len(shown) < 2 or not complete:
        return None

    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        for trial in shown:
            marker(axes, trial.number, p50_ms(trial), trial, area=30)
        best = list(accumulate((p50_ms(t) for t in complete), min))
        numbers = [t.number for t in complete]
        axes.step(
            [*numbers, shown[-1].number], [*best, best[-1]], where="post", color=BEST, linewidth=1.8, zorder=2
        )
        original = next((p50_ms(t) for t in shown if t.kind == "baseline"), None)
        reference = min((p50_ms(t) for t in complete if t.kind == "reference"), default=None)
        top = max(p50_ms(t) for t in complete) * 1.12
        if original is not None:
            level(axes, original, ORIGINAL, "original")
        if reference is not None and (original is None or abs(reference - original) > 0.05 * top):
            level(axes, reference, REFERENCE, "best\nreference")
        axes.set_ylim(0, top)
        legend(axes, shown)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.set_ylabel("median latency in ms")

    return svg(draw, "progress", (7.4, 3.8))
