"""Reading known_hosts: nonsense trusts nobody, and never raises."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.boards.hostkeys import Entry, HostKey, KnownHosts, host_name, parse_line
from edgeopt.core.errors import ConnectError

KEY = HostKey("ssh-ed25519", b"the key")
BLOB = base64.b64encode(KEY.blob).decode()
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)


@given(st.text())
def test_no_line_raises(text: str) -> None:
    entry = parse_line(text)
    assert entry is None or (entry.names and not entry.speaks_of(""))


@given(st.binary(), st.text())
def test_no_file_raises_and_none_trusts_a_stranger(content: bytes, more: str) -> None:
    lines = content.decode(errors="replace").splitlines() + more.splitlines()
    known = KnownHosts(entry for entry in map(parse_line, lines) if entry)
    with pytest.raises(ConnectError, match="is unknown"):
        known.check("board.example", KEY, "ssh://board.example")


@given(st.lists(NAMES, min_size=1), st.binary(min_size=1))
def test_a_line_speaks_of_each_of_its_names(names: list[str], blob: bytes) -> None:
    entry = parse_line(f"{','.join(names)} ssh-rsa {base64.b64encode(blob).decode()} a comment")
    assert entry == Entry(tuple(names), HostKey("ssh-rsa", blob))
    assert all(entry.speaks_of(name) for name in names)


@pytest.mark.parametrize(
    ("names", "spoken_of", "not_spoken_of"),
    [
        ("*.example,!bad.example", "good.example", "bad.example"),
        ("board?", "board1", "board"),
        ("[board]:2222", "[board]:2222", "board"),
        ("[board]:2222", "[board]:2222", "b:2222"),
        ("|1|c2FsdHNhbHRzYWx0c2FsdHNhbHQ=|not-base64", "nobody", "board"),
    ],
)
def test_patterns(names: str, spoken_of: str, not_spoken_of: str) -> None:
    entry = parse_line(f"{names} ssh-ed25519 {BLOB}")
    assert entry
    assert entry.speaks_of(spoken_of) == (spoken_of != "nobody")
    assert not entry.speaks_of(not_spoken_of)


def test_the_port_is_part_of_a_name_unless_it_is_22() -> None:
    assert host_name("board", 22) == "board"
    assert host_name("board", 2222) == "[board]:2222"


def test_files_that_do_not_exist_trust_nobody(tmp_path: Path) -> None:
    assert KnownHosts.read([tmp_path / "nowhere", tmp_path]).of("board") == []
