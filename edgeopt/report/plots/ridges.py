"""Latency distributions of the final stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeopt.report.plots.canvas import BEST, CANDIDATE, COLOUR, INK, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_SAMPLES = 20
MOST_CHARACTERS = 24
SHOWN_QUANTILE = 0.97
"""Rare stalls lie far out: up to here is drawn, for the bodies of the distributions to be seen."""


def ridges(samples: Mapping[str, Sequence[float]], roles: Mapping[str, str]) -> str | None:
    """One ridge per participant, with its median and 95th percentile.

    Args:
        samples: Latencies in ms by name; those with fewer than 20 are left out.
        roles: `baseline`, `reference`, `candidate` or `best` by name.

    Returns:
        SVG text, or None where there is nothing to draw.
    """
    rows = [(name, sorted(values)) for name, values in samples.items() if len(values) >= LEAST_SAMPLES]
    if not rows:
        return None
    rows.reverse()  # the first is to be on top

    def draw(axes: Axes) -> None:
        import numpy as np

        low = min(values[0] for _, values in rows)
        high = max(_quantile(values, SHOWN_QUANTILE) for _, values in rows)
        margin = 0.03 * (high - low) + 1e-3 * high
        edges = np.linspace(low - margin, high + margin, 241)
        kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)
        axes.set_xlim(edges[0], edges[-1])
        for index, (name, values) in enumerate(rows):
            density = np.convolve(np.histogram(values, edges)[0], kernel, mode="same")
            colour = BEST if roles.get(name) == "best" else COLOUR.get(roles.get(name, ""), CANDIDATE)
            centres = (edges[:-1] + edges[1:]) / 2
            _ridge(axes, index, centres.tolist(), (density / density.max() * 0.72).tolist(), colour)
            _quantiles(axes, index, values, colour)
        axes.set_yticks(range(len(rows)), [_clipped(name) for name, _ in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.25, len(rows) - 0.1)
        axes.set_xlabel("latency in ms (line: median, tick: 95th percentile)")

    return svg(draw, "distributions", (7.4, 0.9 + 0.72 * len(rows)))


def _ridge(axes: Axes, index: int, x: Sequence[float], height: Sequence[float], colour: str) -> None:
    top = [index + h for h in height]
    axes.fill_between(x, index, top, color=colour, alpha=0.28, linewidth=0)
    axes.plot(x, top, color=colour, linewidth=1.3)


def _quantiles(axes: Axes, index: int, ordered: Sequence[float], colour: str) -> None:
    median, p95 = _quantile(ordered, 0.5), _quantile(ordered, 0.95)
    axes.plot([median, median], [index, index + 0.78], color=colour, linewidth=2)
    axes.plot([p95], [index], marker="|", markersize=11, markeredgewidth=2, color=colour)
    # Beside the ridge, on the side where there is room.
    left, right = axes.get_xlim()
    beside = (9, 9, "left", p95) if p95 < left + 0.85 * (right - left) else (-22, 9, "right", median)
    axes.annotate(
        f"{median:.3g} ms", (beside[3], index), textcoords="offset points", xytext=beside[:2], ha=beside[2],
        color=colour,
    )  # fmt: skip


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[round(q * (len(ordered) - 1))]


def _clipped(name: str) -> str:
    return name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…"
