"""`quantize_dynamic` after `quant_pre_process`, at its defaults."""

from pathlib import Path


def build(model: Path, _calibration: Path, output: Path) -> None:
    """Quantize weights to int8; activations are, while the model runs."""
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = output.with_name("prepared.onnx")
    quant_pre_process(model, prepared)
    quantize_dynamic(prepared, output)
