"""ONNX models as LiteRT files: exported, checked and quantized by tools in an environment of their own."""
