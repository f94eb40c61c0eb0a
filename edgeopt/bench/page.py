"""The result of `edgeopt bench search` as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeopt import __version__
from edgeopt.bench.table import HEADINGS, SUM_HEADINGS, rows, sum_rows
from edgeopt.core.files import write_atomically
from edgeopt.report.plots.curves import curves

TEMPLATE = "page.html.j2"


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Write the page, all at once or not at all.

    Raises:
        EdgeoptError: The disk is full or not writable.
    """
    write_atomically(path, render(document).encode())


def render(document: Mapping[str, Any]) -> str:
    """The page's HTML; names are escaped by the template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = []
    for way, of_way in document["ways"].items():
        oracles = []
        for index, (name, samplers) in enumerate(of_way["by_oracle"].items()):
            lines = {sampler: score["curve"] for sampler, score in samplers.items()}
            drawn = curves(lines, "ms", f"{way}-{index}")
            # The only text that is not escaped here: matplotlib escaped what it drew.
            oracles.append((name, drawn and Markup(drawn), rows(samplers)))  # noqa: S704
        parts.append((way, oracles, sum_rows(of_way["in_sum"])))
    return environment.get_template(TEMPLATE).render(
        document=document, parts=parts, headings=HEADINGS, sum_headings=SUM_HEADINGS, version=__version__
    )
