"""Fuse a matrix product and the bias added to it into Gemm.

    Add(MatMul(a, b), c) = Gemm(a, b, c)   with a (M, K), b (K, N), c broadcast to (M, N)

Before:
    Add(MatMul(a, b), c);   Add(Gemm(a, b), c)
After:
    Gemm(a, b, c)

Weights: b is (K, N) and stays as it is; c is (N,), (1, N), (M, 1), (M, N), (1,) or a scalar.

Does not apply when:
    - a or b has another rank than 2, or a shape is not known: onnxruntime makes Reshape, Gemm and Reshape of
      (..., K) by (K, N) itself at every level, and gains nothing where they are written (measured in pairs on
      one x86 core, (1, 16, 64) to (8, 32, 256): 0.99 to 1.01 times as fast, the same optimised graph),
    - adding c makes the result larger than (M, N), which Gemm cannot,
    - the product is read elsewhere too, or is an output of the model,
    - the numbers are integers, for which onnxruntime has no Gemm.

Source: ONNX Gemm-13 (unidirectional broadcasting of C), MatMul-13.
"""

from __future__ import annotations

from typing import Any

import onnx_ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRule

from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import PatternRule
from edgeopt.graph.reading import producer_of
from edgeopt.graph.rewrites import Example

ORDER = 60
EXACT = True
RTOL = 1e-5

_FLOATS = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT16)


def form(op: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum; with `commute`, also with the inputs of Add exchanged."""
    return op.Add(op.MatMul(a, b), c, _outputs=["total"])


def check(
    context: Any,  # noqa: ARG001
    a: onnx_ir.Value,
    b: onnx_ir.Value,
    c: onnx_ir.Value,
    total: onnx_ir.Value,
) -> MatchResult:
    """Rank 2, floats, and a bias that fits into the product's shape."""
    result = MatchResult()
    left, right, bias, written = sizes(a), sizes(b), sizes(c), sizes(total)
    if left is None or right is None or bias is None:
        return result.fail("a shape is not known", total)
    if len(left) != 2 or len(right) != 2:
        return result.fail(f"Gemm takes matrices; these have {len(left)} and {len(right)} axes", total)
    if len(bias) > 2 or written != (left[0], right[1]):
        return result.fail("the added value makes the result larger than the product", c)
    if a.dtype not in _FLOATS:
        return result.fail("onnxruntime has no Gemm of integers", a)
    return result


def rewrite(op: Any, a: onnx_ir.Value, b: onnx_ir.Value, c: onnx_ir.Value, **_: Any) -> Any:
    """One product."""
    return op.Gemm(a, b, c)


def gemm_form(op: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum of a Gemm that has no bias."""
    return op.Add(op.Gemm(a, b, _allow_other_attributes=True, _outputs=["product"]), c, _outputs=["total"])


def check_gemm(
    context: Any,  # noqa: ARG001
    product: onnx_ir.Value,
    c: onnx_ir.Value,
    total: onnx_ir.Value,
    **_: Any,
) -> MatchResult:
    """A bias that fits into the product's shape."""
    result = MatchResult()
    written, bias = sizes(product), sizes(c)
    if written is None or bias is None:
        return result.fail("a shape is not known", total)
    if len(bias) > 2 or written != sizes(total):
        return result.fail("the added value makes the result larger than the product", c)
    return result


def rewrite_gemm(
    op: Any, a: onnx_ir.Value, b: onnx_ir.Value, c: onnx_ir.Value, product: onnx_ir.Value, **_: Any
) -> Any:
    """The same product, with the bias."""
    attributes = {name: value for name, value in producer_of(product).attributes.items() if name != "beta"}
    return op.Gemm(a, b, c, **attributes)


RULES = (
    PatternRule(RewriteRule(form, rewrite, check, name="matmul_add"), roots=("Add",), commute=True),
    PatternRule(
        RewriteRule(gemm_form, rewrite_gemm, check_gemm, name="gemm_add"),
        roots=("Add",),
        commute=True,
        worth_trying=lambda node: any(near.op_type == "Gemm" for near in node.predecessors()),
    ),
)

EXAMPLES = (
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x) => (float[2,2] y) <float[3,2] w = {1, 2, 3, 4, 5, 6}>
        { p = Gemm(x, w)
          y = Add(p, p) }""",
        becomes=None,
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x, float[2,1] c) => (float[2,2] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}>
        { p = Gemm <transB = 1, alpha = 0.5, beta = 3.0> (x, w)
          y = Add(c, p) }""",
        becomes=("Gemm",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,3] x) => (float[2,2] y)
          <float[3,2] w = {1, 2, 3, 4, 5, 6}, float[2,2] b = {1, 2, 3, 4}>
        { p = Gemm(x, w)
          y = Add(p, b) }""",
        becomes=None,
        reason="larger",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x) => (float[2,2] y)
          <float[3,2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {0.5, -0.5}>
        { p = MatMul(x, w)
          y = Add(b, p) }""",
        becomes=("Gemm",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,3] x, float[1,2] c) => (float[1,2] y) <float[3,2] w = {1, 2, 3, 4, 5, 6}>
        { p = MatMul(x, w)
          s = Add(p, c)
          y = Relu(s) }""",
        becomes=("Gemm", "Relu"),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,3] x) => (float[2,2] y)
          <float[3,2] w = {1, 2, 3, 4, 5, 6}, float[2,2] b = {1, 2, 3, 4}>
        { p = MatMul(x, w)
          y = Add(p, b) }""",
        becomes=None,
        reason="larger",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,3] x) => (float[1,2,2] y)
          <float[3,2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {1, 2}>
        { p = MatMul(x, w)
          y = Add(p, b) }""",
        becomes=None,
        reason="axes",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x) => (float[2,2] y, float[2,2] z)
          <float[3,2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {0.5, -0.5}>
        { p = MatMul(x, w)
          y = Add(p, b)
          z = Relu(p) }""",
        becomes=None,
        reason="elsewhere",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (int32[2,3] x) => (int32[2,2] y) <int32[3,2] w = {1, 2, 3, 4, 5, 6}, int32[2] b = {1, 2}>
        { p = MatMul(x, w)
          y = Add(p, b) }""",
        becomes=None,
        reason="integers",
    ),
)
