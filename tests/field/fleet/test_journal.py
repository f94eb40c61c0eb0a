"""What a rollout writes down, and reads again after it was killed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgeopt.core.errors import ConfigError, EdgeoptError
from edgeopt.field.journal import Journal, file_of
from edgeopt.field.outcome import Outcome
from edgeopt.field.parcel import Parcel

PARCEL = Parcel(Path("m.edgepkg"), "0" * 64, {}, "{}", "cam", 7, ("a",), ())
GOOD = Outcome("a", "updated", counter=7, sent_bytes=12, seconds=1.5)
BAD = Outcome("b", "failed", "no space", "free some", "command", 4)


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    file = tmp_path / "rollouts" / "one.jsonl"
    with Journal(file, {"product": "cam"}) as journal:
        assert not journal.is_resumed
        journal.note(GOOD)
        journal.note(BAD)
    with Journal(file, {"product": "cam"}) as journal:
        assert journal.is_resumed
        assert journal.outcomes == {"a": GOOD, "b": BAD}
    first = json.loads(file.read_text().splitlines()[0])
    assert first == {"format": 1, "product": "cam"}


def test_the_last_word_on_a_device_counts(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    with Journal(file, {}) as journal:
        journal.note(BAD)
        journal.note(dataclasses.replace(BAD, state="updated", reason=None))
    with Journal(file, {}) as journal:
        assert journal.outcomes["b"].state == "updated"
        journal.forget(["b", "never heard of"])
        assert journal.outcomes == {}
    with Journal(file, {}) as journal:
        assert journal.outcomes == {}


@pytest.mark.parametrize("torn", [b'{"name": "b", "state": "upd', b"\x00\x00\x00\n", b'{"name": "b"}\n'])
def test_a_torn_end_is_cut_off_and_written_again(torn: bytes, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    with Journal(file, {}) as journal:
        journal.note(GOOD)
    with file.open("ab") as stream:
        stream.write(torn)
    with Journal(file, {}) as journal:
        assert journal.outcomes == {"a": GOOD}
        journal.note(BAD)
    with Journal(file, {}) as journal:
        assert journal.outcomes == {"a": GOOD, "b": BAD}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    with Journal(file, {}), pytest.raises(ConfigError, match="another edgeopt is at this rollout"):
        Journal(file, {})
    Journal(file, {}).close()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "rollouts").write_text("a file")
    with pytest.raises(EdgeoptError, match="cannot write"):
        Journal(tmp_path / "rollouts" / "one.jsonl", {})


def test_a_rollout_is_known_by_its_package_and_its_devices() -> None:
    assert file_of(PARCEL, ["a", "b"]) == file_of(PARCEL, ["b", "a"])
    assert file_of(PARCEL, ["a"]) != file_of(PARCEL, ["a", "b"])
    assert file_of(PARCEL, ["a"]) != file_of(dataclasses.replace(PARCEL, sha256="1" * 64), ["a"])
    assert file_of(PARCEL, ["a"]).name.startswith("cam-7-")
