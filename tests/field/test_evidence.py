from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeopt.core.errors import EdgeoptError, EvidenceError, StudyError
from edgeopt.field.evidence import Allowed, check, remarks
from tests.field import made

EMULATED = {"provenance": "emulated"}
REFUSED: dict[str, tuple[dict[str, Any], type[EdgeoptError], str]] = {
    "emulated": ({"best": EMULATED}, EvidenceError, "its figures are emulated"),
    "predicted": ({"best": {"provenance": "predicted"}}, EvidenceError, "figures are predicted"),
    "no data": ({"accuracy": {"status": "unverified"}}, EvidenceError, "unverified: the study had no data"),
    "too few": (
        {"accuracy": {"status": "not established", "n": 90, "bound": 0.03}}, EvidenceError,
        "not established: from 90 samples the drop may be as large as 0.0300",
    ),
    "on the host": ({"accuracy": {"verified_on": "host"}}, EvidenceError, "established on the host only"),
    "no bound": (
        {"accuracy": {"status": "not established", "bound": None}}, EvidenceError, "the drop is not known",
    ),
    "over a limit": (
        {"final": [{"trial": 7, "rejected": "9 ms is above 5 ms"}]}, EvidenceError, "9 ms is above 5 ms",
    ),
    "interrupted": ({"final": []}, StudyError, "before its final stage"),
    "older": ({"deployment": None}, StudyError, "an older edgeopt made it"),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.study(tmp_path_factory.mktemp("evidence") / "out")


@pytest.mark.parametrize("case", REFUSED)
def test_what_was_not_shown_is_not_packaged(case: str, said: Path) -> None:
    changes, kind, why = REFUSED[case]
    with pytest.raises(kind, match=why) as refusal:
        check(made.document(said, **changes), Allowed())
    assert refusal.value.hint


def test_what_was_shown_is_packaged(said: Path) -> None:
    document = made.document(said)
    check(document, Allowed())
    assert remarks(document) == []


def test_a_flag_takes_what_it_names_and_no_more(said: Path) -> None:
    emulated = made.document(said, best=EMULATED)
    check(emulated, Allowed(emulated=True))
    assert remarks(emulated) == ["the promised figures are emulated, not measured"]
    with pytest.raises(EvidenceError):
        check(emulated, Allowed(unestablished=True))
    both = made.document(said, best=EMULATED, accuracy={"status": "unverified"})
    with pytest.raises(EvidenceError, match="unverified"):
        check(both, Allowed(emulated=True))
    check(both, Allowed(emulated=True, unestablished=True))


@pytest.mark.parametrize("same", [{"verdict": "original"}, {"board": "local"}])
def test_host_and_board_may_be_the_same(same: dict[str, str], said: Path) -> None:
    check(made.document(said, accuracy={"verified_on": "host"}, **same), Allowed())


def test_a_promise_of_a_cool_board_is_said_to_be_one(said: Path) -> None:
    (remark,) = remarks(made.document(said, best={"conditions": "bench"}))
    assert "cool, quiet board" in remark
    assert "deployment" in json.loads((said / "best.json").read_text())
