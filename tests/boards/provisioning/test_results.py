"""Reading what a step says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.boards.provisioning.results import STATES, parse
from edgeopt.boards.provisioning.steps import Step
from edgeopt.boards.provisioning.wheels import Target, read_target
from edgeopt.core.errors import BoardError

STEP = Step("swap", "swap", "root", "models swap", None, "")
BEGUN = "edgeopt-provision\t1\n"


def test_everything_that_is_said_arrives() -> None:
    said = (
        BEGUN
        + "mkswap: noise\nchange\toff: /dev/zram0\nnote\tmind\nreboot\twhy\npython\t/p\nstate\tchanged\n"
    )
    found = parse(STEP, said)
    assert found
    assert (found.state, found.changes, found.notes) == ("changed", ("off: /dev/zram0",), ("mind",))
    assert (found.reboots, found.reason, found.python) == (("why",), None, "/p")
    assert found.document()["lost_without"] == "models swap"


def test_what_is_said_twice_is_one() -> None:
    found = parse(STEP, BEGUN + "reboot\twhy\nreboot\twhy\nstate\tchanged\n")
    assert found
    assert found.reboots == ("why",)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "state\tchanged\n",  # another program answered
        BEGUN,  # killed before its end
        BEGUN + "change\toff\n",
        BEGUN + "state\tgreat\n",
        BEGUN + "state\tchanged\nstate\tfailed\n",
        "edgeopt-provision\t2\nstate\tchanged\n",
    ],
)
def test_what_did_not_come_to_its_end_is_no_result(said: str) -> None:
    assert parse(STEP, said) is None


@given(st.text())
def test_no_output_breaks_it(text: str) -> None:
    assert parse(STEP, text) is None
    found = parse(STEP, BEGUN + text + "\nstate\tunchanged\n")
    assert found is None or found.state in STATES


def test_wheels_are_those_that_the_boards_system_can_load() -> None:
    wanted = read_target('[[3, 11], "aarch64", true, "glibc 2.36"]')
    assert wanted == Target("3.11", "aarch64", 36)
    arguments = wanted.arguments()
    assert arguments[arguments.index("--python-version") + 1] == "3.11"
    assert "manylinux_2_36_aarch64" in arguments
    assert "manylinux2014_aarch64" in arguments
    assert "manylinux_2_37_aarch64" not in arguments


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('[[3, 11], "aarch64", false, "glibc 2.36"]', "32 bits"),
        ('[[3, 11], "armv7l", false, "glibc 2.31"]', "32 bits"),
        ('[[3, 12], "aarch64", true, null]', "no glibc"),
    ],
)
def test_a_system_without_wheels_is_said(said: str, why: str) -> None:
    with pytest.raises(BoardError, match=why):
        read_target(said)
