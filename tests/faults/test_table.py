"""The table in the documentation is that of the suite, and nothing that must be in the suite is missing."""

from __future__ import annotations

from tests.faults.table import ASKED, PAGE, families, with_table


def test_the_table_in_the_documentation_is_that_of_the_suite() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "python -m tests.faults.table writes it anew"


def test_all_that_must_fail_once_is_there_and_more() -> None:
    names = [name for _, faults in families() for name in faults]
    assert set(ASKED.values()) <= set(names)
    assert len(set(ASKED.values())) == len(ASKED)
    assert len(set(names)) >= 25
