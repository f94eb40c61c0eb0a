"""Olive's `optimize --precision int8`."""

from pathlib import Path


def build(model: Path, calibration: Path, output: Path) -> None:
    """Run the command with int8 asked for."""
    import with_olive

    with_olive.build(model, calibration, output, "--precision", "int8")
