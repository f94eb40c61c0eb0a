"""onnxslim at its defaults."""

from pathlib import Path


def build(model: Path, _calibration: Path, output: Path) -> None:
    """Slim the model."""
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(str(model)), output)
