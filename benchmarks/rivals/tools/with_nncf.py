"""NNCF's post-training quantization at its defaults."""

from pathlib import Path


def build(model: Path, calibration: Path, output: Path) -> None:
    """Quantize weights and activations to int8."""
    import nncf
    import onnx
    from feeds import feeds

    data = nncf.Dataset(list(feeds(calibration)))
    onnx.save(nncf.quantize(onnx.load(model), data), output)
