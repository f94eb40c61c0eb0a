"""Every rewrite keeps the family's promises; a new file is tested by being there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError, RewriteError
from edgeopt.graph import rewriting
from edgeopt.testing.rewrites import check_rewrite

NEW = '''"""Drop a double negation.

Before:
    Neg(Neg(x))
After:
    Identity(x)

Weights: none.

Does not apply when:
    - the value in between is read elsewhere too.

Source: ONNX Neg-13.
"""

from onnxscript.rewriter.pattern import RewriteRule

from edgeopt.graph.matching import PatternRule
from edgeopt.graph.rewrites import Example

ORDER = 90
EXACT = True
RTOL = 0.0

RULES = (PatternRule(RewriteRule(lambda op, x: op.Neg(op.Neg(x)), lambda op, x: op.Identity(x)), ("Neg",)),)

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) '
EXAMPLES = (
    Example(HEAD + "{ a = Neg(x) y = Neg(a) }", becomes=("Identity",)),
    Example(HEAD + "{ a = Neg(x) b = Neg(a) y = Add(a, b) }", becomes=None, reason="elsewhere"),
)
'''


@pytest.mark.parametrize("name", plugins.names("rewrites"))
def test_rewrite_conforms(name: str, tmp_path: Path) -> None:
    check_rewrite(name, tmp_path)


@pytest.fixture
def new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A rewrite of another distribution, made known by an entry point of an installed package."""
    site = tmp_path / "site"
    info = site / "their_rewrites-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rewrites\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edgeopt.rewrites]\ndrop_double_neg = drop_double_neg\n")
    monkeypatch.syspath_prepend(site)
    forget()
    yield site / "drop_double_neg.py"
    monkeypatch.undo()
    forget()


def forget() -> None:
    sys.modules.pop("drop_double_neg", None)
    for cached in (plugins.names, plugins.load, rewriting.in_order):
        cached.cache_clear()


def test_one_new_file_is_a_new_rewrite(new_file: Path, tmp_path: Path) -> None:
    new_file.write_text(NEW)
    assert "drop_double_neg" in plugins.names("rewrites")
    check_rewrite("drop_double_neg", tmp_path)
    assert rewriting.is_exact("drop_double_neg")
    assert rewriting.in_order()[-1] == "drop_double_neg"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"Source: ONNX Neg-13.": ""}, "lacks Source:"),
        ({"op.Identity(x)": "op.Abs(x)"}, "became"),
        ({"op.Identity(x)": "op.Abs(x)", '("Identity",)': '("Abs",)'}, "output 'y' changed"),
        ({'("Identity",)': "None"}, "where it applies and where it does not"),
        ({'reason="elsewhere"': 'reason="full moon"'}, "refused for"),
        ({"RTOL = 0.0": "RTOL = 0.5"}, "not exact"),
    ],
    ids=["no source", "other operators", "other numbers", "no example", "other reason", "tolerance"],
)
def test_the_suite_catches_a_file_that_breaks_a_promise(
    new_file: Path, tmp_path: Path, changes: dict[str, str], complaint: str
) -> None:
    text = NEW
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    new_file.write_text(text)
    with pytest.raises(AssertionError, match=complaint):
        check_rewrite("drop_double_neg", tmp_path)


def test_a_rewrite_that_makes_work_for_itself_is_stopped(new_file: Path, tmp_path: Path) -> None:
    new_file.write_text(NEW.replace("op.Identity(x)", "op.Neg(op.Neg(x))"))
    with pytest.raises(RewriteError, match="drop_double_neg does not come to an end"):
        check_rewrite("drop_double_neg", tmp_path)


def test_an_unknown_rewrite_is_wrong_usage() -> None:
    with pytest.raises(ConfigError, match="unknown rewrite"):
        rewriting.load("fuse_everything")
