"""`quantize_static` with a scale per channel."""

from pathlib import Path


def build(model: Path, calibration: Path, output: Path) -> None:
    """Quantize weights per channel, and activations, to int8."""
    import ort_static

    ort_static.build(model, calibration, output, per_channel=True)
