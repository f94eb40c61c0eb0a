"""Fuse the pieces of a hard swish, which exporters write in many orders.

    hard_sigmoid(x) = clip(x + 3, 0, 6) / 6 = clip(x / 6 + 0.5, 0, 1)
    hard_swish(x)   = x * hard_sigmoid(x)

Before:
    x * HardSigmoid<1/6, 0.5>(x);   x * (Clip(x + 3, 0, 6) / 6);   (x * Clip(x + 3, 0, 6)) / 6;
    Clip(x + 3, 0, 6) * (x / 6);    each with * 1/6 for / 6, and with factors and summands in any order
After:
    HardSwish(x)                              from opset 14 on
    Mul(x, HardSigmoid<1/6, 0.5>(x))          before, where HardSwish does not exist

Weights: none; the constants 3, 0, 6 and 1/6 are single numbers.

Does not apply when:
    - a constant differs by more than 1e-4 of itself,
    - a value in between is read elsewhere too, or is an output of the model,
    - before opset 14, HardSigmoid is there already.

Source: ONNX HardSwish-14, HardSigmoid-6; Howard et al. 2019, "Searching for MobileNetV3", equation 2.
"""

from __future__ import annotations

from typing import Any

import onnx_ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRule

from edgeopt.graph.constants import scalar_of
from edgeopt.graph.matching import PatternRule
from edgeopt.graph.reading import producer_of
from edgeopt.graph.rewrites import Example

ORDER = 50
EXACT = True
RTOL = 1e-4

_TOLERANCE = 1e-4
_FIRST_OPSET = 14

_CONSTANTS = {"three": 3.0, "six": 6.0, "sixth": 1 / 6}


def _clip(op: Any, x: Any, three: Any) -> Any:
    # Bounds are inputs since opset 11, attributes before: `_check` reads either.
    return op.Clip(x + three, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["clipped"])


def _sigmoid_times_x(op: Any, x: Any) -> Any:
    return op.HardSigmoid(x, _allow_other_attributes=True, _outputs=["sigmoid"]) * x


def _x_times_quotient(op: Any, x: Any, three: Any, six: Any) -> Any:
    return x * (_clip(op, x, three) / six)


def _x_times_product(op: Any, x: Any, three: Any, sixth: Any) -> Any:
    return x * (_clip(op, x, three) * sixth)


def _whole_over_six(op: Any, x: Any, three: Any, six: Any) -> Any:
    return (x * _clip(op, x, three)) / six


def _whole_times_sixth(op: Any, x: Any, three: Any, sixth: Any) -> Any:
    return (x * _clip(op, x, three)) * sixth


def _clip_times_quotient(op: Any, x: Any, three: Any, six: Any) -> Any:
    return _clip(op, x, three) * (x / six)


def _clip_times_product(op: Any, x: Any, three: Any, sixth: Any) -> Any:
    return _clip(op, x, three) * (x * sixth)


def _check(context: Any, x: onnx_ir.Value, **found: onnx_ir.Value) -> MatchResult:  # noqa: ARG001
    """All constants must be those of hard swish."""
    result = MatchResult()
    for name, value in found.items():
        if name in _CONSTANTS and not _is(scalar_of(value), _CONSTANTS[name]):
            return result.fail(f"{value.name} is not {_CONSTANTS[name]:.4g}", value)
        if name == "clipped" and _bounds(producer_of(value)) != (True, True):
            return result.fail("Clip does not cut at 0 and 6", value)
        if name == "sigmoid":
            attributes = producer_of(value).attributes
            if not (
                _is(attributes.get_float("alpha", 0.2), 1 / 6) and _is(attributes.get_float("beta", 0.5), 0.5)
            ):
                return result.fail("HardSigmoid is not that of hard swish (alpha 1/6, beta 0.5)", value)
            if not _has_hardswish(x):
                return result.fail(f"HardSwish exists from opset {_FIRST_OPSET} on", value)
    return result


def _rewrite(op: Any, x: onnx_ir.Value, **found: onnx_ir.Value) -> Any:  # noqa: ARG001
    """The one operator, or its two halves where the model's opset does not have it."""
    if _has_hardswish(x):
        return op.HardSwish(x)
    return op.Mul(x, op.HardSigmoid(x, alpha=1 / 6, beta=0.5))


def _has_hardswish(x: onnx_ir.Value) -> bool:
    graph = x.graph
    return graph is not None and graph.opset_imports.get("", 1) >= _FIRST_OPSET


def _bounds(clip: onnx_ir.Node) -> tuple[bool, bool]:
    """Whether the lower bound is 0, and the upper 6."""
    low = scalar_of(clip.inputs[1]) if len(clip.inputs) > 1 else clip.attributes.get_float("min", None)
    high = scalar_of(clip.inputs[2]) if len(clip.inputs) > 2 else clip.attributes.get_float("max", None)
    return _is(low, 0.0), _is(high, 6.0)


def _is(value: float | None, expected: float) -> bool:
    return value is not None and abs(value - expected) <= _TOLERANCE * max(expected, 1e-3)


def _near_clip(node: onnx_ir.Node) -> bool:
    """A quick look before forty patterns are tried: one of them ends here only if this is true."""
    close = node.predecessors()
    nodes = (*close, *(far for near in close for far in near.predecessors()))
    return any(other.op_type in ("Clip", "HardSigmoid") for other in nodes)


_FORMS = (
    _sigmoid_times_x, _x_times_quotient, _x_times_product, _whole_over_six, _whole_times_sixth,
    _clip_times_quotient, _clip_times_product,
)  # fmt: skip

RULES = tuple(
    PatternRule(
        RewriteRule(form, _rewrite, _check, name=form.__name__.strip("_")),
        roots=("Mul", "Div"),
        commute=True,
        worth_trying=_near_clip,
    )
    for form in _FORMS
)

_CONSTANT_TEXT = "float three = {3}, float zero = {0}, float six = {6}, float sixth = {0.16666667}"


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", opset: int = 17) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph (float[2,8] x) => (float[2,8] y) <{_CONSTANT_TEXT}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_SHIFTED = "a = Add(x, three) c = Clip(a, zero, six)"
_SHIFTED_SWAPPED = "a = Add(three, x) c = Clip(a, zero, six)"

EXAMPLES = (
    _example("h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul(x, h)", ("HardSwish",)),
    _example(f"{_SHIFTED} h = Div(c, six) y = Mul(x, h)", ("HardSwish",)),
    _example(f"{_SHIFTED_SWAPPED} h = Mul(sixth, c) y = Mul(h, x)", ("HardSwish",)),
    _example(f"{_SHIFTED} m = Mul(x, c) y = Div(m, six)", ("HardSwish",)),
    _example(f"{_SHIFTED} m = Mul(c, x) y = Mul(m, sixth)", ("HardSwish",)),
    _example(f"{_SHIFTED} q = Div(x, six) y = Mul(q, c)", ("HardSwish",)),
    _example(f"{_SHIFTED_SWAPPED} q = Mul(sixth, x) y = Mul(c, q)", ("HardSwish",)),
    _example(f"{_SHIFTED} m = Mul(x, c) d = Div(m, six) y = Neg(d)", ("HardSigmoid", "Mul", "Neg"), opset=12),
    _example(
        "a = Add(x, three) c = Clip <min = 0.0, max = 6.0> (a) m = Mul(x, c) y = Div(m, six)",
        ("HardSigmoid", "Mul"),
        opset=10,
    ),
    _example("h = HardSigmoid (x) y = Mul(x, h)", None, "alpha"),
    _example("h = HardSigmoid <alpha = 0.16666667> (x) y = Mul(x, h)", None, "opset 14", opset=13),
    _example(f"{_SHIFTED} m = Mul(x, c) y = Div(m, three)", None, "is not 6"),
    _example("a = Add(x, three) c = Clip(a, zero, three) m = Mul(x, c) y = Div(m, six)", None, "0 and 6"),
    _example(f"{_SHIFTED} m = Mul(x, c) d = Div(m, six) y = Add(d, c)", None, "elsewhere"),
)
