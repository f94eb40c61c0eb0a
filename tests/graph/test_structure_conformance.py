"""Every change of structure keeps its promises, alone and mixed; a new file is tested by being there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.testing import structure


@pytest.mark.parametrize(("name", "index"), structure.cases())
def test_change_conforms(name: str, index: int, tmp_path: Path) -> None:
    structure.check_example(name, index, tmp_path)
