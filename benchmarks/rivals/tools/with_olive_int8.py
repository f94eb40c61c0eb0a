"""Olive's `quantize` command at its defaults (int8); of its implementations the one for ONNX files."""

from pathlib import Path


def build(model: Path, calibration: Path, output: Path) -> None:
    """Run the command."""
    import with_olive

    with_olive.build(model, calibration, output, "quantize", "--implementation", "ort")
