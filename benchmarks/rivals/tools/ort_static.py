"""`quantize_static` after `quant_pre_process`, as ONNX Runtime's documentation says, at its defaults."""

from pathlib import Path


def build(model: Path, calibration: Path, output: Path, **options: object) -> None:
    """Quantize weights and activations to int8."""
    from feeds import feeds
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = feeds(calibration)

        def get_next(self) -> dict[str, object] | None:
            return next(self.left, None)

    prepared = output.with_name("prepared.onnx")
    quant_pre_process(model, prepared)
    quantize_static(prepared, output, Reader(), **options)
