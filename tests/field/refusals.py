"""How a package is refused: exit 6, in words, and with nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.core.errors import PackageError
from edgeopt.field.keyring import Keyring
from edgeopt.field.trust import Trust
from edgeopt.field.verify import verify


def refused(path: Path, keyring: Keyring, content: bytes, **more: object) -> str:
    """What is said of a package with this content."""
    trust = Trust.open(keyring.folder)
    before = sorted(path.iterdir())
    bad = path / "bad.edgepkg"
    bad.write_bytes(content)
    with pytest.raises(PackageError) as said:
        verify(bad, trust, **more)  # type: ignore[arg-type]
    assert said.value.exit_code == 6
    bad.unlink()
    assert sorted(path.iterdir()) == before
    return said.value.message


def flipped(content: bytes, position: int, mask: int = 0xFF) -> bytes:
    changed = bytearray(content)
    changed[position] ^= mask
    return bytes(changed)
