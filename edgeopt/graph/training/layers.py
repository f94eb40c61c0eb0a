"""Layers in torch: products, convolutions, poolings and normalisations.

Source: ONNX operator specifications, versions 7 to 23; PyTorch documentation of the named functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeopt.graph.training.operators import Call, Inputs, Operator, at, need


def _gemm(call: Call, inputs: Inputs) -> Tensor:
    a, b, c = need(inputs), need(inputs, 1), at(inputs, 2)
    a, b = a.T if call.get("transA", 0) else a, b.T if call.get("transB", 0) else b
    product: Tensor = call.get("alpha", 1.0) * (a @ b)
    if c is not None:
        product = product + call.get("beta", 1.0) * c
    return product


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


def _batch_normalization(call: Call, inputs: Inputs) -> Tensor:
    if call.get("training_mode", 0):
        raise call.refuse("it normalises by the batch")
    x = need(inputs)
    scale, bias, mean, var = (_per_channel(need(inputs, i), x) for i in range(1, 5))
    return (x - mean) / torch.sqrt(var + call.get("epsilon", 1e-5)) * scale + bias


def _layer_normalization(call: Call, inputs: Inputs) -> Tensor:
    if call.outputs > 1:
        raise call.refuse("its mean or deviation is used")
    x, bias = need(inputs), at(inputs, 2)
    axes = list(range(call.get("axis", -1) % x.ndim, x.ndim))
    centred = x if call.op_type == "RMSNormalization" else x - x.mean(axes, True)
    spread = centred.square().mean(axes, True) + call.get("epsilon", 1e-5)
    scaled = centred / torch.sqrt(spread) * need(inputs, 1)
    return scaled if bias is None else scaled + bias


def _instance_normalization(call: Call, inputs: Inputs) -> Tensor:
    x, axes = need(inputs), list(range(2, need(inputs).ndim))
    centred = x - x.mean(axes, True)
    spread = centred.square().mean(axes, True) + call.get("epsilon", 1e-5)
    scale, bias = (_per_channel(need(inputs, i), x) for i in (1, 2))
    return centred / torch.sqrt(spread) * scale + bias


def _window(
    call: Call, x: Tensor, kernel: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, and the padding before and after, by axis."""
    n = len(kernel)
    strides, dilations = (list(call.get(name) or [1] * n) for name in ("strides", "dilations"))
    pads, auto = list(call.get("pads") or [0] * 2 * n), call.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        return strides, dilations, *((less, more) if auto == "SAME_UPPER" else (more, less))
    return strides, dilations, pads[:n], pads[n:]


def _padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    wide = [size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair]
    return F.pad(x, wide, value=value) if any(wide) else x


def _conv(call: Call, inputs: Inputs) -> Tensor:
    x, weight, bias = need(inputs), need(inputs, 1), at(inputs, 2)
    function = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    strides, dilations, before, after = _window(call, x, weight.shape[2:])
    if before != after:
        x, before = _padded(x, before, after), [0] * len(before)
    result: Tensor = function(x, weight, bias, strides, before, dilations, call.get("group", 1))
    return result


def _conv_transpose(call: Call, inputs: Inputs) -> Tensor:
    x, weight, bias = need(inputs), need(inputs, 1), at(inputs, 2)
    n = x.ndim - 2
    pads = list(call.get("pads") or [0] * 2 * n)
    if call.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or call.get("output_shape"):
        raise call.refuse("its padding follows from its output's shape")
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
    extra = list(call.get("output_padding") or [0] * n)
    strides, dilations = call.get("strides") or [1] * n, call.get("dilations") or [1] * n
    result = function(x, weight, bias, strides, [0] * n, 0, call.get("group", 1), dilations)
    result = _padded(result, [0] * n, extra)
    for axis, (before, after) in enumerate(zip(pads[:n], pads[n:], strict=True), 2):
        result = result.narrow(axis, before, result.shape[axis] - before - after)
    return result


def _pool(call: Call, inputs: Inputs) -> Tensor:
    x, kernel = need(inputs), list(call.get("kernel_shape"))
    if call.outputs > 1 or call.get("ceil_mode", 0) or x.ndim not in (3, 4):
        raise call.refuse("only its plain form over one or two axes, rounded down, is known")
    strides, dilations, before, after = _window(call, x, kernel)
    if x.ndim == 3:  # as rows of one
        x, kernel, strides, dilations = x.unsqueeze(2), [1, *kernel], [1, *strides], [1, *dilations]
        before, after = [0, *before], [0, *after]
    if call.op_type == "MaxPool":
        result = F.max_pool2d(_padded(x, before, after, -math.inf), kernel, strides, 0, dilations)
    else:
        if any(size != 1 for size in dilations):
            raise call.refuse("it is dilated")
        result = F.avg_pool2d(_padded(x, before, after), kernel, strides)
        if not call.get("count_include_pad", 0) and any([*before, *after]):
            ones = torch.ones(1, 1, *x.shape[2:])
            result = result / F.avg_pool2d(_padded(ones, before, after), kernel, strides)
    return result.squeeze(2) if len(call.get("kernel_shape")) == 1 else result


def _global_pool(call: Call, inputs: Inputs) -> Tensor:
    x = need(inputs)
    axes = list(range(2, x.ndim))
    return x.amax(axes, True) if call.op_type == "GlobalMaxPool" else x.mean(axes, True)


TABLE: dict[str, Operator] = {
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _layer_normalization),
    "Gemm": _gemm,
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _instance_normalization,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}
