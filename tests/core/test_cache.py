"""Where edgeopt keeps what it can make again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.core.cache import cache_folder


def test_the_most_specific_wish_wins(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert cache_folder() == home / ".cache" / "edgeopt"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/edgeopt")
    monkeypatch.setenv("EDGEOPT_CACHE", "~/here")
    assert cache_folder() == home / "here"
