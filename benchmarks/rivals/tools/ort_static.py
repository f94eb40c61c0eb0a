"""`quantize_static` after `quant_pre_process`, as ONNX Runtime's documentation says, at its defaults."""

from pathlib import Path


def build(model: Path, calibration: Path, output: Path, **options: object) -> None:
    """Quantize weights and activations to int8."""
    from feeds import feeds
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from prepared import prepared

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = feeds(calibration)

        def get_next(self) -> dict[str, object] | None:
            return next(self.left, None)

    quantize_static(prepared(model, output), output, Reader(), **options)
