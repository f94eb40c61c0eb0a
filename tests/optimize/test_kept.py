"""A study keeps what it was asked for: `confirm` opens the same space on another board."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.optimize import kept
from edgeopt.options import BoardOptions, OptimizeOptions


@pytest.mark.parametrize("structure", [False, True])
@pytest.mark.parametrize("allowed", [(), ("nhwc", "uint8-input")])
def test_what_is_kept_opens_the_same_space(structure: bool, allowed: tuple[str, ...], tmp_path: Path) -> None:
    asked = OptimizeOptions(
        tmp_path / "net.onnx",
        tmp_path / "out",
        BoardOptions("rpi4"),
        structure=structure,
        allow_interface=allowed,
        sampler="tpe",
        threads=2,
    )
    assert kept.from_json(kept.to_json(asked), asked.output) == asked
