"""What ONNX operators without weights are in torch: a table, each entry a few lines.

Each takes the node (its attributes) and its inputs, and gives one tensor or several. Tensors are those of one
inference, of static shapes; `torch.func.vmap` makes a batch of it, so nothing may be written in place.
Sizes, axes and bounds come as constant tensors and are read as numbers.

Not in the table, so refused by name: control flow, sequences, strings, quantized and random operators,
Scatter*, TopK, NonMaxSuppression and whatever else has no use or no gradient here.

Source: ONNX operator specifications, versions 7 to 23; PyTorch documentation of the named functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeopt.core.errors import ModelError

Inputs = Sequence[Tensor | None]
Operator = Callable[["Call", Inputs], "Tensor | tuple[Tensor, ...]"]

DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64,
}  # fmt: skip
"""By ONNX's numbers of types."""


class Untrainable(ModelError):
    """A model, or an operator of it, that cannot be trained; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Call:
    """A node: its operator, its attributes as plain values, the operator set, and how many outputs it has."""

    op_type: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> Untrainable:
        return Untrainable(f"operator {self.op_type} cannot be trained: {why}")


def ints(tensor: Tensor | None) -> list[int] | None:
    """Numbers that a graph computes from nothing but shapes and constants."""
    return None if tensor is None else [int(value) for value in tensor.reshape(-1).tolist()]


def at(inputs: Inputs, index: int) -> Tensor | None:
    """An input; None where it is left out."""
    return inputs[index] if index < len(inputs) else None


def need(inputs: Inputs, index: int = 0) -> Tensor:
    """An input that cannot be left out."""
    found = at(inputs, index)
    if found is None:
        raise Untrainable("a node lacks an input that its operator needs")
    return found


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda _, inputs: function(need(inputs))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda _, inputs: function(need(inputs), need(inputs, 1))


def _chain(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def run(_: Call, inputs: Inputs) -> Tensor:
        result = need(inputs)
        for index in range(1, len(inputs)):
            result = function(result, need(inputs, index))
        return result

    return run


def _div(_: Call, inputs: Inputs) -> Tensor:
    a, b = need(inputs), need(inputs, 1)
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _mod(call: Call, inputs: Inputs) -> Tensor:
    a, b = need(inputs), need(inputs, 1)
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


def _clip(call: Call, inputs: Inputs) -> Tensor:
    x, low, high = need(inputs), at(inputs, 1), at(inputs, 2)
    if call.opset < 11:
        low, high = (None if (b := call.get(n)) is None else torch.tensor(b) for n in ("min", "max"))
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _hard_sigmoid(call: Call, inputs: Inputs) -> Tensor:
    scaled: Tensor = call.get("alpha", 0.2) * need(inputs) + call.get("beta", 0.5)
    return scaled.clamp(0.0, 1.0)


def _prelu(_: Call, inputs: Inputs) -> Tensor:
    x, slope = need(inputs), need(inputs, 1)
    return torch.where(x < 0, x * slope, x)


def _gelu(call: Call, inputs: Inputs) -> Tensor:
    result: Tensor = F.gelu(need(inputs), approximate=call.get("approximate", "none"))
    return result


def _softmax(call: Call, inputs: Inputs) -> Tensor:
    x = need(inputs)
    function = torch.log_softmax if call.op_type == "LogSoftmax" else torch.softmax
    if call.opset >= 13:
        return function(x, dim=call.get("axis", -1))
    axis = call.get("axis", 1) % max(1, x.ndim)  # all axes from this one on are one
    flat = x.reshape(*x.shape[:axis], math.prod(x.shape[axis:]))
    return function(flat, dim=-1).reshape(x.shape)


_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
}


def _reduce(call: Call, inputs: Inputs) -> Tensor:
    x, axes = need(inputs), call.get("axes") or ints(at(inputs, 1))
    if not axes and call.get("noop_with_empty_axes", 0):
        return x
    reduced = [axis % x.ndim for axis in axes or range(x.ndim)]
    return _REDUCTIONS[call.op_type](x, reduced, bool(call.get("keepdims", 1)))


def _arg(call: Call, inputs: Inputs) -> Tensor:
    if call.get("select_last_index", 0):
        raise call.refuse("it takes the last of equals")
    function = torch.argmax if call.op_type == "ArgMax" else torch.argmin
    return function(need(inputs), dim=call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))


def _reshape(call: Call, inputs: Inputs) -> Tensor:
    x, sizes = need(inputs), ints(need(inputs, 1)) or []
    if not call.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, inputs: Inputs) -> Tensor:
    x, axis = need(inputs), call.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(call: Call, inputs: Inputs) -> Tensor:
    x = need(inputs)
    return x.permute(*(call.get("perm") or reversed(range(x.ndim))))


def _squeeze(call: Call, inputs: Inputs) -> Tensor:
    x, axes = need(inputs), call.get("axes") or ints(at(inputs, 1))
    gone = {axis % x.ndim for axis in axes} if axes else {i for i, size in enumerate(x.shape) if size == 1}
    return x.reshape([size for i, size in enumerate(x.shape) if i not in gone])


def _unsqueeze(call: Call, inputs: Inputs) -> Tensor:
    x, axes = need(inputs), call.get("axes") or ints(at(inputs, 1)) or []
    rank = x.ndim + len(axes)
    new, old = {axis % rank for axis in axes}, iter(x.shape)
    return x.reshape([1 if i in new else next(old) for i in range(rank)])


def _split(call: Call, inputs: Inputs) -> tuple[Tensor, ...]:
    x, axis = need(inputs), call.get("axis", 0)
    sizes = call.get("split") or ints(at(inputs, 1))
    if not sizes:
        parts = call.get("num_outputs") or call.outputs
        each = -(-x.shape[axis] // parts)
        sizes = [min(each, x.shape[axis] - i * each) for i in range(parts)]
    return torch.split(x, list(sizes), dim=axis)


def _slice(call: Call, inputs: Inputs) -> Tensor:
    x = need(inputs)
    if call.opset < 10:
        starts, ends, axes, steps = call.get("starts"), call.get("ends"), call.get("axes"), None
    else:
        starts, ends = ints(need(inputs, 1)) or [], ints(need(inputs, 2)) or []
        axes, steps = ints(at(inputs, 3)), ints(at(inputs, 4))
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = (axes[i] if axes else i) % x.ndim, steps[i] if steps else 1
        # An end before the first element is far below zero, which Python's slices know only as None.
        bound = None if step < 0 and end < -x.shape[axis] else end
        taken = range(x.shape[axis])[slice(start, bound, step)]
        if step == 1:
            x = x.narrow(axis, taken.start if len(taken) else 0, len(taken))
        else:
            x = x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64))
    return x


def _gather(call: Call, inputs: Inputs) -> Tensor:
    x, index = need(inputs), need(inputs, 1).long()
    axis = call.get("axis", 0) % x.ndim
    index = torch.where(index < 0, index + x.shape[axis], index)
    taken = x.index_select(axis, index.reshape(-1))
    return taken.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _gather_elements(call: Call, inputs: Inputs) -> Tensor:
    x, index, axis = need(inputs), need(inputs, 1).long(), call.get("axis", 0)
    return torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))


def _expand(_: Call, inputs: Inputs) -> Tensor:
    x, sizes = need(inputs), ints(need(inputs, 1)) or []
    return x.broadcast_to(np.broadcast_shapes(tuple(x.shape), tuple(sizes)))


def _pad(call: Call, inputs: Inputs) -> Tensor:
    x = need(inputs)
    pads = call.get("pads") or ints(at(inputs, 1)) or []
    value, mode = at(inputs, 2), call.get("mode", "constant")
    axes = [axis % x.ndim for axis in ints(at(inputs, 3)) or range(x.ndim)]
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if mode == "constant":
            fill = float(call.get("value", 0.0) if value is None else value.item())
            wide = [0, 0] * (x.ndim - 1 - axis) + [before, after]
            x = F.pad(x, wide, value=fill)
        elif before or after:
            taken = np.pad(np.arange(x.shape[axis]), (before, after), mode=mode)
            x = x.index_select(axis, torch.from_numpy(taken))
    return x


def _cast(call: Call, inputs: Inputs) -> Tensor:
    kind = call.get("to")
    if call.op_type == "Cast" and kind not in DTYPES:
        raise call.refuse(f"torch has no type for ONNX's {kind}")
    return need(inputs).to(need(inputs, 1).dtype if call.op_type == "CastLike" else DTYPES[kind])


def _constant_of_shape(call: Call, inputs: Inputs) -> Tensor:
    value = torch.as_tensor(np.asarray(call.get("value", np.zeros(1, np.float32)))).reshape(())
    return torch.full(ints(need(inputs)) or [], value.item(), dtype=value.dtype)


def _shape(call: Call, inputs: Inputs) -> Tensor:
    sizes = list(need(inputs).shape)[call.get("start", 0) : call.get("end")]
    return torch.tensor(sizes, dtype=torch.int64)


def _depth_to_space(call: Call, inputs: Inputs) -> Tensor:
    x, b = need(inputs), call.get("blocksize")
    n, c, h, w = x.shape
    if call.op_type == "SpaceToDepth":
        parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * b * b, h // b, w // b)
    if call.get("mode", "DCR") == "DCR":
        parts = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // b**2, h * b, w * b)


def _einsum(call: Call, inputs: Inputs) -> Tensor:
    result: Tensor = torch.einsum(call.get("equation"), *[need(inputs, i) for i in range(len(inputs))])
    return result


def _trilu(call: Call, inputs: Inputs) -> Tensor:
    x, k = need(inputs), (ints(at(inputs, 1)) or [0])[0]
    rows, columns = torch.arange(x.shape[-2])[:, None], torch.arange(x.shape[-1])[None]
    kept = columns - rows >= k if call.get("upper", 1) else columns - rows <= k
    return torch.where(kept, x, torch.zeros((), dtype=x.dtype))


def _range(_: Call, inputs: Inputs) -> Tensor:
    start, end, step = (need(inputs, i) for i in range(3))
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


TABLE: dict[str, Operator] = {
    **{name: _unary(cast(Any, function)) for name, function in {
        "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt,
        "Reciprocal": torch.reciprocal, "Erf": torch.erf, "Sin": torch.sin, "Cos": torch.cos,
        "Tanh": torch.tanh, "Sigmoid": torch.sigmoid, "Relu": torch.relu, "Softplus": F.softplus,
        "Softsign": F.softsign, "HardSwish": F.hardswish, "Mish": F.mish, "Floor": torch.floor,
        "Ceil": torch.ceil, "Round": torch.round, "Sign": torch.sign, "Not": torch.logical_not,
        "Identity": lambda x: x, "Dropout": lambda x: x,
    }.items()},
    **{name: _binary(cast(Any, function)) for name, function in {
        "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "MatMul": torch.matmul, "Equal": torch.eq,
        "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le,
        "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor,
        "Pow": lambda a, b: torch.pow(a, b).to(a.dtype),
    }.items()},
    **{name: _chain(cast(Any, function)) for name, function in {
        "Sum": torch.add, "Max": torch.maximum, "Min": torch.minimum,
    }.items()},
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _depth_to_space),
    **dict.fromkeys(("Cast", "CastLike"), _cast),
    "LeakyRelu": lambda call, x: F.leaky_relu(need(x), call.get("alpha", 0.01)),
    "Elu": lambda call, x: F.elu(need(x), call.get("alpha", 1.0)),
    "Selu": lambda _, x: F.selu(need(x)),
    "Where": lambda _, x: torch.where(need(x), need(x, 1), need(x, 2)),
    "Concat": lambda call, x: torch.cat([need(x, i) for i in range(len(x))], dim=call.get("axis")),
    "Tile": lambda _, x: need(x).tile(ints(need(x, 1)) or []),
    "Size": lambda _, x: torch.tensor(need(x).numel()),
    "Div": _div, "Mod": _mod, "Clip": _clip, "HardSigmoid": _hard_sigmoid, "PRelu": _prelu, "Gelu": _gelu,
    "Reshape": _reshape, "Flatten": _flatten, "Transpose": _transpose, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Split": _split, "Slice": _slice, "Gather": _gather,
    "GatherElements": _gather_elements, "Expand": _expand, "Pad": _pad, "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Einsum": _einsum, "Trilu": _trilu, "Range": _range,
}  # fmt: skip
"""By operator; layers with weights are in `layers.py` and `recurrences.py`."""
