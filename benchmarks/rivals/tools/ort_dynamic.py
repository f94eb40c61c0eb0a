"""`quantize_dynamic` after `quant_pre_process`, at its defaults."""

from pathlib import Path


def build(model: Path, _calibration: Path, output: Path) -> None:
    """Quantize weights to int8; activations are, while the model runs."""
    from onnxruntime.quantization import quantize_dynamic
    from prepared import prepared

    quantize_dynamic(prepared(model, output), output)
