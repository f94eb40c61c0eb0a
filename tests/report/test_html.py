from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgeopt.core.candidate import Candidate
from edgeopt.report.html import render, write_report
from tests.report import made_up

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Collects what a browser would fetch or run."""

    VOID = ("meta", "link", "img", "br", "hr", "input", "path", "use")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action") and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def page(**more: Any) -> str:
    trials = made_up.study()
    document = made_up.result(trials)
    return render(document | more, trials, made_up.context(document))


def test_the_page_is_well_formed_and_fetches_nothing() -> None:
    text = page()
    parsed = Page(text)
    assert parsed.fetched == []
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not re.search(r"@import|url\((?!#)", text)


def test_the_page_says_what_was_won_and_how_it_is_known() -> None:
    text = page()
    for words in (
        "Improved: 1.98×", "faster than the original (95 %:", "the best recipe, int8 static per-channel",
        "Accuracy established, drop +0.0031 absolute", "n = 3000", "int8 dynamic", "is allowed (n = 2000)",
        "All 46 trials", "Cortex-A72", "--budget", "measured",
    ):  # fmt: skip
        assert words in text, words
    assert text.count("<svg") == 3
    assert 'class="cell' in text


def test_what_is_worse_comes_before_the_verdict() -> None:
    trials = made_up.study()
    document = made_up.result(trials)
    document["best"]["size_bytes"] = 28_000_000
    text = render(document, trials, made_up.context(document))
    assert 0 < text.index("file size is +100.0% worse") < text.index("Improved: ")


def test_nothing_that_comes_from_a_model_or_a_path_is_run() -> None:
    trials = [
        replace(t, name=f"{t.name}{EVIL}$x^2$", reason=EVIL, candidate=_renamed(t.candidate))
        for t in made_up.study()
    ]
    document = made_up.result(trials)
    document |= {
        "model": f"/x/{EVIL}.onnx",
        "device": EVIL,
        "board": f'"><img src=x onerror={EVIL}>',
        "artifact": EVIL,
    }
    context = made_up.context(
        document,
        command=EVIL, worse=(EVIL,), notes=(EVIL,), board_facts={EVIL: EVIL}, metric=EVIL,
        versions={EVIL: EVIL},
        regions=((f"/a{EVIL}", EVIL),), protocol=(EVIL,), created=EVIL,
    )  # fmt: skip
    parsed = Page(render(document, trials, context))
    assert parsed.tags.count("script") == 1  # the page's own
    assert "img" not in parsed.tags
    assert parsed.handlers == []


def _renamed(candidate: Candidate) -> Candidate:
    decisions = {f"{site}{EVIL}" if "@" in site else site: option for site, option in candidate.decisions}
    return Candidate.of(candidate.model_digest, decisions)


@pytest.mark.parametrize("provenance", ["predicted", "emulated"])
def test_what_is_not_measured_says_so_and_promises_nothing(provenance: Any) -> None:
    trials = made_up.study(provenance)
    document = made_up.result(trials, provenance)
    text = render(document, trials, made_up.context(document, samples={}))
    assert f"Every time below is {provenance}" in text
    assert "±" in text
    assert "fresh processes, in turns with the original, no sample" not in text
    assert text.count("<svg") == 2  # no distributions of what was never timed


def test_figures_of_another_provenance_are_not_compared() -> None:
    trials = made_up.study()
    document = made_up.result(trials)
    document["comparisons"] = []
    document["best"]["provenance"] = "predicted"
    assert "not comparable with the original" in render(document, trials, made_up.context(document))


def test_a_study_without_data_or_trials_still_makes_a_page() -> None:
    trials = made_up.study()[:1]
    document = made_up.result(made_up.study())
    document |= {
        "best": document["baseline"],
        "verdict": "original",
        "references": [],
        "pareto": [],
        "comparisons": [],
    }
    document["accuracy"] = {
        "status": "unverified", "basis": "none", "verified_on": None, "n": None, "drop": None, "bound": None
    }  # fmt: skip
    document["device_seconds"] = document["wall_seconds"] = None
    text = render(document, trials, made_up.context(document, original_score=None, samples={}, regions=()))
    assert "The original is kept" in text
    assert "Accuracy unverified" in text


def test_a_study_that_nothing_survives_makes_a_page() -> None:
    trials = made_up.study()
    document = made_up.result(trials) | {"best": None, "verdict": "original", "artifact": None}
    assert "No variant meets the limits." in render(document, trials, made_up.context(document))


def test_the_same_study_makes_the_same_page_and_leaves_no_scraps(tmp_path: Path) -> None:
    trials = made_up.study()
    document = made_up.result(trials)
    folder = tmp_path / "pages"
    folder.mkdir()
    for name in ("a.html", "b.html"):
        write_report(folder / name, document, trials, made_up.context(document))
    assert (folder / "a.html").read_text() == (folder / "b.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["a.html", "b.html"]
