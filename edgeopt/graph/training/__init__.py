"""Models trained in torch: ONNX graphs made differentiable, and taught by the original's outputs.

The only place of `graph` that imports torch; nothing here is imported before something is to be trained.
"""
