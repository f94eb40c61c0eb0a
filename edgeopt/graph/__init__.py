"""ONNX in, ONNX out: load, freeze, cut into regions, rewrite, quantize, build, check."""
