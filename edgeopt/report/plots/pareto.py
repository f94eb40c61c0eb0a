"""Latency against accuracy drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeopt.core.trial import Trial
from edgeopt.report.plots.canvas import BEST, REJECTED, legend, level, marker, p50_ms, svg, timed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pareto(
    trials: Sequence[Trial], best: int | None, provenance: str | None, allowed: float | None
) -> str | None:
    """Latency against accuracy drop (against size, where accuracy is unknown or never changes).

    Args:
        trials: All of the study; those without a latency of `provenance` are left out.
        best: Number of the winner.
        provenance: Figures of another are not comparable.
        allowed: Largest absolute drop allowed; None without data.

    Returns:
        SVG text, or None where there is nothing to draw.
    """
    shown = [t for t in timed(trials, provenance) if t.artifact]
    with_drop = [t for t in shown if _drop(t) is not None]
    by_drop = len({_drop(t) for t in with_drop}) >= 2
    shown = with_drop if by_drop else shown
    if len(shown) < 2:
        return None
    points = {t.number: (p50_ms(t), (_drop(t) or 0.0) if by_drop else _megabytes(t)) for t in shown}

    def draw(axes: Axes) -> None:
        largest = max(_megabytes(t) for t in shown)
        for trial in shown:
            marker(axes, *points[trial.number], trial, area=18 + 130 * _megabytes(trial) / (largest or 1.0))
        if front := _front([points[t.number] for t in shown if t.state == "COMPLETE"]):
            axes.step(*zip(*front, strict=True), where="post", color=BEST, linewidth=1.6, zorder=2)
        if best in points:
            _point_out(axes, *points[best])
        if by_drop and allowed is not None:
            level(axes, allowed, REJECTED, "allowed\ndrop")
            axes.set_ylim(*_span([y for _, y in points.values()], allowed))
        legend(axes, shown)
        axes.set_xlabel("median latency in ms")
        axes.set_ylabel("accuracy drop, absolute" if by_drop else "file size in MB")

    return svg(draw, "pareto", (7.4, 4.4))


def _drop(trial: Trial) -> float | None:
    return trial.accuracy.drop if trial.accuracy else None


def _megabytes(trial: Trial) -> float:
    return trial.artifact.size_bytes / 1e6 if trial.artifact else 0.0


def _point_out(axes: Axes, x: float, y: float) -> None:
    axes.scatter([x], [y], s=300, facecolor="none", edgecolor=BEST, linewidth=2, zorder=4)
    # Nothing is better than the chosen one, so there is room below to the left.
    axes.annotate(
        "chosen", (x, y), textcoords="offset points", xytext=(-10, -17), ha="right", color=BEST,
        fontweight="bold",
    )  # fmt: skip
    axes.margins(x=0.11)


def _span(drops: Sequence[float], allowed: float) -> tuple[float, float]:
    """Limits of the drop's axis: one hopeless candidate must not squeeze all others into a line."""
    typical = sorted(drops)[int(len(drops) * 0.8)]
    bar = max(allowed * 3, typical * 1.3)
    top = max(drop for drop in (*drops, allowed) if drop <= bar) * 1.15 or 1e-3
    bottom = min(0.0, *drops)
    return bottom - 0.12 * (top - bottom), top


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front
