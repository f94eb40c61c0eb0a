"""What ONNX Runtime's documentation asks for before quantization."""

from pathlib import Path


def prepared(model: Path, output: Path) -> Path:
    """The model after `quant_pre_process`; without its symbolic shape inference where that gives up."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = output.with_name("prepared.onnx")
    try:
        quant_pre_process(model, path)
    except Exception as error:  # it raises Exception itself
        print(f"quant_pre_process: {error}; again without symbolic shape inference")
        quant_pre_process(model, path, skip_symbolic_shape=True)
    return path
