"""How far a model's answers are from the original's.

Of each output the mean squared error, as a share of the variance that the original's has over the samples: 1
is what the mean alone would reach. Of classes also the Kullback-Leibler divergence from the original's
distribution to the model's, in nats.

Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531), section 2, at temperature 1 for the divergence; Ba &
Caruana 2014 (arXiv:1312.6184), section 2.2, for the error of logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeopt.graph.training.samples import Arrays

Kind = Literal["values", "logits", "probabilities", "log probabilities"]
Loss = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
"""(answers, the original's) -> one number, the mean over the samples of the first axis."""

LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class Target:
    """One output: what it is, and the variance of the original's."""

    kind: Kind
    variance: float

    def loss(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Of one batch."""
        error = (ours - theirs).square().mean() / self.variance
        if self.kind == "values":
            return error
        if self.kind == "logits":
            expected, found = torch.log_softmax(theirs, -1), torch.log_softmax(ours, -1)
        elif self.kind == "log probabilities":
            expected, found = theirs, ours
        else:
            expected, found = (one.clamp_min(LEAST_PROBABILITY).log() for one in (theirs, ours))
        divergence = (expected.exp() * (expected - found)).sum(-1).mean()
        return error + divergence


def targets(graph: ir.Graph, answers: Arrays, *, has_classes: bool) -> dict[str, Target]:
    """What each output is.

    Args:
        graph: Of the original: an output behind a softmax is a distribution.
        answers: The original's.
        has_classes: Whether output 0, where it is none, holds logits: the metric looks at its classes.
    """
    found = {}
    for number, output in enumerate(graph.outputs):
        name = str(output.name)
        if name in answers:
            array = np.asarray(answers[name], np.float64)
            variance = float(array.var(axis=0).mean()) or float(np.square(array).mean()) or 1.0
            found[name] = Target(_kind(output, has_classes=has_classes and number == 0), variance)
    return found


def _kind(output: ir.Value, *, has_classes: bool) -> Kind:
    producer, sizes = output.producer(), tuple(output.shape or ())
    if producer is not None and producer.op_type in ("Softmax", "LogSoftmax"):
        axis = producer.attributes.get_int("axis", -1)
        if axis in (-1, len(sizes) - 1):
            return "probabilities" if producer.op_type == "Softmax" else "log probabilities"
    last = sizes[-1] if sizes else 1
    return "logits" if has_classes and isinstance(last, int) and last > 1 else "values"


def total(known: Mapping[str, Target]) -> Loss:
    """The sum over outputs."""

    def loss(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([target.loss(ours[n], theirs[n]) for n, target in known.items()]).sum()

    return loss
