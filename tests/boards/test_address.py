"""Addresses of boards."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.boards.address import Address
from edgeopt.core.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("local", Address("local")),
        ("ssh://board", Address("ssh", "board")),
        ("ssh://pi@10.0.0.7:2222", Address("ssh", "10.0.0.7", "pi", 2222)),
        ("ssh://pi@[fe80::1]:22", Address("ssh", "fe80::1", "pi", 22)),
        (
            "ssh://b?python=/p&identity=/i&config=/c",
            Address("ssh", "b", None, None, "/p", Path("/i"), Path("/c")),
        ),
        ("ssh://b?model=Radxa+ROCK+5B", Address("ssh", "b", model="Radxa ROCK 5B")),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize("url", ["local", "ssh://board", "ssh://pi@10.0.0.7:2222", "ssh://pi@[fe80::1]:22"])
def test_an_address_prints_as_it_was_written(url: str) -> None:
    assert str(Address.parse(url)) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ssh://b:notaport", "is not the address"),
        ("ssh://b:99999", "is not the address"),
        ("ssh://b/path", "is not the address"),
        ("ssh://b?pyhton=/p", "'pyhton' is not one of"),
        ("ssh://b?python", "is not the address"),
        ("notaurl", "unknown transport 'notaurl'"),
        ("http://b", "unknown transport 'http'"),
        ("ssh://", "names no host"),
        ("ssh", "names no host"),
        ("://", "is not the address"),
        ("ssh://me:secret@b", "password"),
    ],
)
def test_what_is_not_an_address_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refusal:
        Address.parse(url)
    assert "secret" not in refusal.value.message


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except ConfigError:
        return
    assert address.scheme


def test_paths_are_printed_nowhere() -> None:
    assert str(Address.parse("ssh://b?identity=/home/me/key")) == "ssh://b"
