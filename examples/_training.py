"""What the four `make_example.py` scripts share: split data, train a classifier, export it."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

OPSET = 17
MAX_IR_VERSION = 8  # what torch's exporter writes for opset 17; every runtime since 2022 reads it


def start(seed: int) -> np.random.Generator:
    """Seed every source of randomness and return the generator that the split is drawn from."""
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    return np.random.default_rng(seed)


def split(size: int, parts: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Disjoint random index sets of the given sizes, and what remains (for training) as the last one."""
    order = rng.permutation(size)
    return np.split(order, np.cumsum(parts))


def fit(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    learning_rate: float,
    augment: Callable[[Tensor], Tensor] = lambda batch: batch,
    batch_size: int = 64,
    label_smoothing: float = 0.05,
) -> nn.Module:
    """Train with AdamW, one learning-rate cycle and cross entropy; return the model in eval mode."""
    steps = epochs * (len(inputs) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.2)
    criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        order = torch.randperm(len(inputs))[: len(inputs) // batch_size * batch_size]
        for batch in order.view(-1, batch_size):
            loss = criterion(model(augment(inputs[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total * batch_size / len(order):.4f}", flush=True)
    return model.eval()


def export(
    model: nn.Module, sample: Tensor, path: pathlib.Path, input_name: str, *, dynamic_batch: bool = False
) -> None:
    """Write `model` as a deployment export would leave it: batch norms and identities left in place.

    Raises:
        ValueError: ONNX Runtime and torch disagree by more than 1e-3.
    """
    names = {"input_names": [input_name], "output_names": ["logits"]}
    axes = {input_name: {0: "batch"}, "logits": {0: "batch"}} if dynamic_batch else None
    torch.onnx.export(
        model,
        (sample,),
        str(path),
        opset_version=OPSET,
        dynamic_axes=axes,
        do_constant_folding=True,
        training=torch.onnx.TrainingMode.PRESERVE,
        dynamo=False,
        **names,
    )
    proto = onnx.load(path)
    proto.ir_version = min(proto.ir_version, MAX_IR_VERSION)
    proto.metadata_props.clear()
    for node in proto.graph.node:
        node.ClearField("doc_string")
    if not dynamic_batch:  # the exporter leaves the output's batch open even so
        proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = len(sample)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    with torch.no_grad():
        expected = model(sample).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {input_name: sample.numpy()})
    if not np.allclose(got, expected, atol=1e-3):
        raise ValueError(f"{path}: the export differs from torch by {np.abs(got - expected).max():.2e}")
