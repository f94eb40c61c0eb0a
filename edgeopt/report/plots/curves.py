"""Best so far against measurements, one line per sampler, with the interval of its median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from edgeopt.report.plots.canvas import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f", "#b8860b")
"""Told apart with most kinds of colour blindness (Okabe and Ito, 2008), on light and on dark."""
STYLES = ("-", "--", ":")


def curves(lines: Mapping[str, Sequence[Mapping[str, Any]]], unit: str, name: str) -> str | None:
    """Of each sampler a step line, and a band where seeds differ.

    Args:
        lines: `{"median", "ci95"}` after 0, 1, 2, … measurements, by sampler.
        unit: Of the figure, for the axis.
        name: Unique in the page.

    Returns:
        SVG text, or None where there is nothing to draw.
    """
    shown = {key: points for key, points in lines.items() if any(p["median"] is not None for p in points)}
    if not shown:
        return None

    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        for index, ((sampler, points), colour) in enumerate(zip(shown.items(), cycle(COLOURS), strict=False)):
            known = [(n, p) for n, p in enumerate(points) if p["median"] is not None]
            x = [n for n, _ in known]
            style = STYLES[index // len(COLOURS) % len(STYLES)]
            medians = [p["median"] for _, p in known]
            axes.step(x, medians, where="post", color=colour, linestyle=style, linewidth=1.7, label=sampler)
            low = [p["ci95"][0] if p["ci95"][0] is not None else p["median"] for _, p in known]
            high = [p["ci95"][1] if p["ci95"][1] is not None else p["median"] for _, p in known]
            axes.fill_between(x, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("measurements")
        axes.set_ylabel(f"best so far in {unit}")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9.5, handlelength=1.6)

    return svg(draw, name, (7.4, 4.0))
