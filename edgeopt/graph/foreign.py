"""Files of other frameworks: refused with the line that exports them to ONNX."""

from __future__ import annotations

from pathlib import Path

from edgeopt.core.errors import ModelError

TORCH_EXPORT = "torch.onnx.export(model.eval(), (example_input,), '{stem}.onnx', dynamo=True)"

EXPORTS = {
    ".pt": ("PyTorch", 'python -c "import torch; model = torch.load(\'{path}\', weights_only=False); '
                       'example_input = torch.zeros(1, 3, 224, 224); ' + TORCH_EXPORT + '"'),
    ".pth": ("PyTorch", 'python -c "import torch; from your_code import model; '
                        "model.load_state_dict(torch.load('{path}')); "
                        'example_input = torch.zeros(1, 3, 224, 224); ' + TORCH_EXPORT + '"'),
    ".pt2": ("torch.export", "python -c \"import torch; program = torch.export.load('{path}'); "
                             "torch.onnx.export(program, (), '{stem}.onnx', dynamo=True)\""),
    ".safetensors": ("safetensors (weights only)", "optimum-cli export onnx --model {folder} {stem}-onnx/"),
    ".h5": ("Keras", "python -c \"import keras; keras.models.load_model('{path}').export('{stem}.onnx', "
                     'format=\'onnx\')"'),
    ".keras": ("Keras", "python -c \"import keras; keras.models.load_model('{path}').export('{stem}.onnx', "
                        'format=\'onnx\')"'),
    ".pb": ("TensorFlow", "python -m tf2onnx.convert --graphdef {path} --inputs INPUT:0 --outputs OUTPUT:0 "
                          "--output {stem}.onnx"),
    ".tflite": ("TensorFlow Lite", "python -m tf2onnx.convert --tflite {path} --output {stem}.onnx"),
}  # fmt: skip
"""Suffix to the framework's name and the command which exports such a file."""


def refuse_foreign(path: Path) -> None:
    """Refuse a file that by its suffix belongs to another framework.

    Raises:
        ModelError: Its hint is the line that exports the file to ONNX.
    """
    if export := EXPORTS.get(path.suffix.lower()):
        framework, line = export
        command = line.format(path=path, stem=path.stem, folder=path.parent)
        raise ModelError(f"{path} is a {framework} file, not ONNX", hint=f"export it first: {command}")
