"""Writing the prepared interpreter into boards.toml, and nothing else."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards.inventory import Inventory
from edgeopt.boards.provisioning.saving import edited, write
from edgeopt.core.errors import ConfigError

TEXT = """# my boards
[board.other]
device = "rpi5"
url = "ssh://pi@10.0.0.8"
python = "/usr/bin/python3"  # the other's

[board."kitchen"]
device = "rpi4" # left of the window
url = "ssh://pi@10.0.0.7:22"
"""


def test_only_the_entry_changes() -> None:
    once = edited(TEXT, "kitchen", {"python": "/p"})
    assert tomllib.loads(once)["board"]["kitchen"]["python"] == "/p"
    assert set(TEXT.splitlines()) < set(once.splitlines())
    assert edited(once, "kitchen", {"python": "/p"}) == once
    assert tomllib.loads(edited(once, "other", {"python": "/q"}))["board"] == {
        "other": {"device": "rpi5", "url": "ssh://pi@10.0.0.8", "python": "/q"},
        "kitchen": {"device": "rpi4", "url": "ssh://pi@10.0.0.7:22", "python": "/p"},
    }


@pytest.mark.parametrize(
    "text",
    [
        'board.kitchen = { device = "rpi4", url = "ssh://pi@h" }\n',
        '[board]\nkitchen = { device = "rpi4", url = "ssh://pi@h" }\n',
    ],
)
def test_what_cannot_be_edited_is_left_alone_and_said(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot edit the entry of kitchen") as refusal:
        edited(text, "kitchen", {"python": "/p"})
    assert 'python = "/p"' in str(refusal.value.hint)


def test_another_user_is_written_too(home: Path) -> None:
    file = home / ".config" / "edgeopt" / "boards.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEXT)
    board = Inventory.load(home).get("kitchen")
    assert write(board, replace(board.address, user="edgeopt"), "/home/edgeopt/p") == file
    again = Inventory.load(home).get("kitchen")
    assert (again.url, again.python) == ("ssh://edgeopt@10.0.0.7:22", "/home/edgeopt/p")
