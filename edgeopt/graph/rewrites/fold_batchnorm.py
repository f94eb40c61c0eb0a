"""Fold BatchNormalization into the Conv, ConvTranspose or Gemm before it.

    f = gamma / sqrt(variance + epsilon)
    W' = W * f   (along the output channels)
    b' = (b - mean) * f + beta

Before:
    BatchNormalization(Conv(x, W, b), gamma, beta, mean, variance)
After:
    Conv(x, W', b')

Weights: Conv W is (M, C/group, *kernel), scaled along axis 0; ConvTranspose W is (C, M/group, *kernel),
scaled per group along axis 1; Gemm W is (K, N), or (N, K) with transB, scaled along N. A missing bias counts
as 0. Computed in float64, stored in the type of W.

Does not apply when:
    - a weight, the bias or a statistic is not constant,
    - the value in between is read elsewhere too, or is an output of the model,
    - BatchNormalization is in training mode, or spatial=0 (opset 7 and 8),
    - a folded weight is not finite in its type.

Source: ONNX BatchNormalization-15, Conv-11, ConvTranspose-11, Gemm-13; Ioffe & Szegedy 2015, section 3.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from onnxscript.rewriter.pattern import MatchResult, RewriteRule

from edgeopt.graph.constants import array_of, constant_of
from edgeopt.graph.derived import derived
from edgeopt.graph.matching import PatternRule
from edgeopt.graph.reading import producer_of
from edgeopt.graph.rewrites import Example

ORDER = 40
EXACT = True
RTOL = 1e-4

_LAYOUT = ("group", "transB")
"""Attributes that say how a weight is laid out."""


class FoldBatchNorm:
    """`BatchNormalization(op(x, W, b))`; `op_type` says how its weight is laid out."""

    def __init__(self, op_type: str) -> None:
        self._op_type = op_type

    def rule(self) -> PatternRule:
        """The rule for this operator."""
        return PatternRule(
            RewriteRule(self.form, self.rewrite, self.check, name=f"batchnorm_into_{self._op_type}"),
            roots=("BatchNormalization",),
        )

    def form(self, op: Any, x: Any) -> Any:
        """The pattern, with any number of further inputs; `check` looks at them."""
        inner = getattr(op, self._op_type)(x, _allow_other_inputs=True, _outputs=["inner"])
        return op.BatchNormalization(inner, _allow_other_inputs=True, _outputs=["normalized"])

    def check(self, context: Any, inner: onnx_ir.Value, normalized: onnx_ir.Value, **_: Any) -> MatchResult:  # noqa: ARG002
        """All weights and statistics must be constant."""
        result = MatchResult()
        product, norm = producer_of(inner), producer_of(normalized)
        if norm.attributes.get_int("training_mode", 0) or not norm.attributes.get_int("spatial", 1):
            return result.fail("BatchNormalization is in training mode or not spatial", norm)
        for value in (*product.inputs[1:], *norm.inputs[1:]):
            if value is not None and array_of(value) is None:
                return result.fail(f"{value.name} is not constant", value)
        return result

    def rewrite(self, op: Any, x: onnx_ir.Value, inner: onnx_ir.Value, normalized: onnx_ir.Value) -> Any:
        """Scale the weight and the bias."""
        product, norm = producer_of(inner), producer_of(normalized)
        gamma, beta, mean, variance = (_double(value) for value in norm.inputs[1:5])
        attributes = dict(product.attributes)
        bias_scale = attributes.pop("beta").as_float() if "beta" in attributes else 1.0  # Gemm's C
        bias_of = product.inputs[2] if len(product.inputs) > 2 else None
        epsilon = norm.attributes.get_float("epsilon", 1e-5)
        form = (self._op_type, bias_scale, epsilon, *(product.attributes.get_int(n, 0) for n in _LAYOUT))
        with np.errstate(all="ignore"):
            factor = gamma / np.sqrt(variance + epsilon)

            def make_weight() -> NDArray[np.generic]:
                given = constant_of(product.inputs[1])
                scaled = np.empty_like(given, order="C")
                scales = self._per_channel(factor, product, given.shape)
                np.multiply(
                    given, scales, out=scaled, dtype=np.float64, casting="unsafe"
                )  # no copy in double
                return scaled

            def make_bias() -> NDArray[np.generic]:
                bias = bias_scale * _double(bias_of) if bias_of is not None else np.zeros_like(mean)
                return ((bias - mean) * factor + beta).astype(constant_of(product.inputs[1]).dtype)

            weight = derived([*norm.inputs[1:5], product.inputs[1]], ("batchnorm weight", *form), make_weight)
            bias = derived([*norm.inputs[1:5], *product.inputs[1:]], ("batchnorm bias", *form), make_bias)
        if not (np.isfinite(weight.numpy()).all() and np.isfinite(bias.numpy()).all()):
            return MatchResult().fail("the folded weight overflows its type", norm)
        return getattr(op, self._op_type)(
            x,
            op.initializer(weight, name=f"{normalized.name}_weight"),
            op.initializer(bias, name=f"{normalized.name}_bias"),
            **attributes,
        )

    def _per_channel(
        self, factor: NDArray[np.float64], product: onnx_ir.Node, shape: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """`factor` (M,) in the shape that scales the output channels of a weight of `shape`."""
        if self._op_type == "Conv":
            return factor.reshape(-1, *[1] * (len(shape) - 1))
        if self._op_type == "Gemm":
            return factor.reshape(-1, 1) if product.attributes.get_int("transB", 0) else factor
        group = product.attributes.get_int("group", 1)
        rows = np.repeat(factor.reshape(group, -1), shape[0] // group, axis=0)  # (C, M/group)
        return rows.reshape(*shape[:2], *[1] * (len(shape) - 2))


def _double(value: onnx_ir.Value | None) -> NDArray[np.float64]:
    return constant_of(value).astype(np.float64)


RULES = tuple(FoldBatchNorm(op_type).rule() for op_type in ("Conv", "ConvTranspose", "Gemm"))

_NORM = "float[2] g = {2, 0.5}, float[2] b = {1, -1}, float[2] m = {0.5, 0.25}, float[2] v = {4, 0.25}"

EXAMPLES = (
    Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,3,3] x) => (float[1,2,3,3] y)
          <float[2,1,1,1] w = {{3, -2}}, float[2] c = {{0.5, 4}}, {_NORM}>
        {{ h = Conv(x, w, c)
          y = BatchNormalization(h, g, b, m, v) }}""",
        becomes=("Conv",),
    ),
    Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,3,3] x) => (float[1,2,3,3] y) <float[2,1,1,1] w = {{3, -2}}, {_NORM}>
        {{ h = Conv(x, w)
          n = BatchNormalization <epsilon = 0.001> (h, g, b, m, v)
          y = Relu(n) }}""",
        becomes=("Conv", "Relu"),
    ),
    Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,4,3,3] x) => (float[1,2,3,3] y)
          <float[4,1,1,1] w = {{3, -2, 1, 5}}, float[2] c = {{0.5, 4}}, {_NORM}>
        {{ h = ConvTranspose <group = 2> (x, w, c)
          y = BatchNormalization(h, g, b, m, v) }}""",
        becomes=("ConvTranspose",),
    ),
    Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[4,3] x) => (float[4,2] y)
          <float[2,3] w = {{3, -2, 1, 5, 0.5, 7}}, float[2] c = {{0.5, 4}}, {_NORM}>
        {{ h = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, w, c)
          y = BatchNormalization(h, g, b, m, v) }}""",
        becomes=("Gemm",),
    ),
    Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,3,3] x) => (float[1,2,3,3] y) <float[2,1,1,1] w = {{3, -2}}, {_NORM}>
        {{ h = Conv(x, w)
          n = BatchNormalization(h, g, b, m, v)
          y = Add(h, n) }}""",
        becomes=None,
        reason="elsewhere",
    ),
    Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,3,3] x, float[2,1,1,1] w) => (float[1,2,3,3] y) <{_NORM}>
        {{ h = Conv(x, w)
          y = BatchNormalization(h, g, b, m, v) }}""",
        becomes=None,
        reason="not constant",
    ),
)
