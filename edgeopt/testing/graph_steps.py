"""Steps by which a random graph grows: single operators, and what exporters make of common layers.

Each takes a graph and one of its float values, adds nodes, and returns nothing; it does nothing where the
value has no suitable shape. Only continuous functions: a rounding error stays one, so that the outputs of a
rewritten graph can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgeopt.testing.graph_under_construction import Graph, Tensor

Step = Callable[[Graph, Tensor], None]


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _permuted(g: Graph, rank: int) -> list[int]:
    order = list(range(rank))
    for index in reversed(range(1, rank)):
        other = g.choose(range(index + 1))
        order[index], order[other] = order[other], order[index]
    return order


def activation(g: Graph, x: Tensor) -> None:
    """One elementwise function."""
    simple = [
        "Relu",
        "Sigmoid",
        "Tanh",
        "LeakyRelu",
        "Elu",
        "Softplus",
        "Neg",
        "Abs",
        "Identity",
        "HardSigmoid",
    ]
    simple += ["HardSwish"] if g.opset >= 14 else []
    simple += ["Gelu"] if g.opset >= 20 else []
    g.add(g.choose(simple), [x], x.shape)


def clip(g: Graph, x: Tensor) -> None:
    """A Clip."""
    g.clip(x, *g.choose([(0.0, 6.0), (-1.0, 1.0), (0.0, 1.0)]))


def composed_activation(g: Graph, x: Tensor) -> None:
    """GELU, SiLU, hard swish and Mish as exporters write them."""
    form = g.choose(["gelu", "silu", "hard_swish", "mish"])
    if form == "gelu":
        scaled = g.add("Div", [x, g.constant(math.sqrt(2), np.float32)], x.shape)
        shifted = g.add("Add", [g.add("Erf", [scaled], x.shape), g.constant(1, np.float32)], x.shape)
        product = g.add("Mul", [x, shifted], x.shape)
        g.add("Mul", [product, g.constant(0.5, np.float32)], x.shape)
    elif form == "silu":
        g.add("Mul", [x, g.add("Sigmoid", [x], x.shape)], x.shape)
    elif form == "hard_swish":
        bounded = g.clip(g.add("Add", [x, g.constant(3, np.float32)], x.shape), 0.0, 6.0)
        g.add("Div", [g.add("Mul", [x, bounded], x.shape), g.constant(6, np.float32)], x.shape)
    else:
        g.add("Mul", [x, g.add("Tanh", [g.add("Softplus", [x], x.shape)], x.shape)], x.shape)


def with_constant(g: Graph, x: Tensor) -> None:
    """Add, Sub, Mul or Div by a constant: a scalar, per last axis, per channel, of full shape, or neutral."""
    operator = g.choose(["Add", "Sub", "Mul", "Div", "Max", "Min"])
    shapes: list[tuple[int, ...]] = [(), x.shape]
    if x.rank:
        shapes += [x.shape[-1:], (1,) * x.rank]
    if x.rank >= 3:
        shapes.append((x.shape[1], *(1,) * (x.rank - 2)))
    shape = g.choose(shapes)
    neutral = g.choose([False, False, True])
    if neutral:
        constant = g.constant(np.full(shape, 0 if operator in ("Add", "Sub") else 1, np.float32))
    else:
        constant = g.positive(*shape) if operator == "Div" else g.weight(*shape)
    swapped = g.choose([False, True]) and operator not in ("Sub", "Div")
    g.add(operator, [constant, x] if swapped else [x, constant], x.shape)


def binary(g: Graph, x: Tensor) -> None:
    """With another value that broadcasts."""
    others = [v for v in g.values if v.kind == "float32" and _broadcast(v.shape, x.shape) is not None]
    other = g.choose(others)
    shape = _broadcast(other.shape, x.shape) or ()
    if math.prod(shape) <= 4096:
        g.add(g.choose(["Add", "Sub", "Mul", "Max"]), [x, other], shape)


def expand(g: Graph, x: Tensor) -> None:
    """Expand or Tile, read by an Add of that size."""
    if not x.rank or 1 not in x.shape:
        return
    shape = tuple(3 if size == 1 else size for size in x.shape)
    if math.prod(shape) > 4096:
        return
    if g.choose([False, True]):
        large = g.add("Expand", [x, g.constant(shape, np.int64)], shape)
    else:
        repeats = [after // size for size, after in zip(x.shape, shape, strict=True)]
        large = g.add("Tile", [x, g.constant(repeats, np.int64)], shape)
    if g.choose([False, True]):
        g.add("Add", [large, g.weight(*shape)], shape)


def matmul(g: Graph, x: Tensor) -> None:
    """One or several siblings of a constant matrix, with or without bias, or a Gemm."""
    if x.rank < 2:
        return
    width = g.choose([1, 2, 4])
    for _ in range(g.choose([1, 1, 2, 3])):
        k, shape = x.shape[-1], (*x.shape[:-1], width)
        if x.rank == 2 and g.choose([False, True]):
            transposed = g.choose([0, 1])
            size = (width, k) if transposed else (k, width)
            g.add("Gemm", [x, g.weight(*size, fan_in=k), g.weight(width)], shape, transB=transposed)
            continue
        product = g.add("MatMul", [x, g.weight(k, width, fan_in=k)], shape)
        if g.choose([False, True]):
            g.add("Add", [product, g.weight(width)], shape)


def product_of_two(g: Graph, x: Tensor) -> None:
    """x times its own transpose, as attention does."""
    if x.rank >= 2 and x.shape[-2] <= 16:
        order = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
        shape = (*x.shape[:-1], x.shape[-2])
        scores = g.add("MatMul", [x, g.transpose(x, order)], shape)
        g.add("Mul", [scores, g.constant(1 / x.shape[-1], np.float32)], shape)


def conv(g: Graph, x: Tensor) -> None:
    """A convolution, perhaps after a Pad, perhaps before BatchNormalization and an activation."""
    if x.rank not in (3, 4) or min(x.shape[2:]) < 3:
        return
    if g.choose([False, False, True]):
        border = [0, 0, *(1,) * (x.rank - 2)]
        x = g.pad(x, border, border, g.choose(["constant", "constant", "reflect"]), g.choose([0.0, 0.0, 1.0]))
    channels, size = x.shape[1], g.choose([1, 3])
    group = g.choose([1, channels])
    filters = channels * g.choose([1, 2])
    stride, dilation, pad = g.choose([1, 1, 2]), 1, g.choose([0, size // 2])
    space = [(length + 2 * pad - size) // stride + 1 for length in x.shape[2:]]
    axes = len(space)
    inputs: list[Tensor | str] = [
        x, g.weight(filters, channels // group, *(size,) * axes, fan_in=channels // group * size**axes)
    ]  # fmt: skip
    inputs += [g.weight(filters)] if g.choose([False, True]) else []
    y = g.add(
        "Conv", inputs, (x.shape[0], filters, *space),
        group=group, strides=[stride] * axes, pads=[pad] * 2 * axes, dilations=[dilation] * axes,
    )  # fmt: skip
    if g.choose([False, True]):
        batch_norm(g, y)
    if g.choose([False, True]):
        activation(g, g.values[-1])


def batch_norm(g: Graph, x: Tensor) -> None:
    """A BatchNormalization over the channels."""
    if x.rank >= 3:
        c = x.shape[1]
        g.add("BatchNormalization", [x, g.weight(c), g.weight(c), g.weight(c), g.positive(c)], x.shape)


def transposed_conv(g: Graph, x: Tensor) -> None:
    """A ConvTranspose of twice the size."""
    if x.rank == 4 and max(x.shape) <= 12:
        c, f = x.shape[1], 2
        shape = (x.shape[0], f, x.shape[2] * 2, x.shape[3] * 2)
        g.add("ConvTranspose", [x, g.weight(c, f, 2, 2, fan_in=c)], shape, strides=[2, 2])
        if g.choose([False, True]):
            batch_norm(g, g.values[-1])


def pool(g: Graph, x: Tensor) -> None:
    """A pooling of half the size, or of all."""
    if x.rank != 4 or min(x.shape[2:]) < 2:
        return
    kind = g.choose(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"])
    if kind.startswith("Global"):
        g.add(kind, [x], (*x.shape[:2], 1, 1))
        return
    shape = (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)
    g.add(kind, [x], shape, kernel_shape=[2, 2], strides=[2, 2])


def transpose(g: Graph, x: Tensor) -> None:
    """A Transpose, perhaps with an activation and another Transpose behind."""
    if x.rank < 2:
        return
    order = _permuted(g, x.rank)
    y = g.transpose(x, order)
    for _ in range(g.choose([0, 1, 2])):
        g.choose([activation, with_constant, clip, reduce, softmax])(g, y)
        y = g.values[-1]
    if g.choose([False, True]) and y.rank == x.rank:
        back = g.choose([[order.index(axis) for axis in range(x.rank)], _permuted(g, x.rank)])
        g.transpose(y, back)


def reshape(g: Graph, x: Tensor) -> None:
    """Flatten, a split of the last axis, Squeeze or Unsqueeze."""
    form = g.choose(["flatten", "split", "squeeze", "unsqueeze", "whole"])
    if form == "flatten" and x.rank >= 1:
        g.add("Flatten", [x], (x.shape[0], math.prod(x.shape[1:])), axis=1)
    elif form == "split" and x.rank and x.shape[-1] % 2 == 0:
        g.reshape(x, (*x.shape[:-1], 2, x.shape[-1] // 2))
    elif form == "squeeze" and 1 in x.shape:
        axis = x.shape.index(1)
        g.axes("Squeeze", x, [axis], (*x.shape[:axis], *x.shape[axis + 1 :]), 13)
    elif form == "unsqueeze" and x.rank < 5:
        axis = g.choose(range(x.rank + 1))
        g.axes("Unsqueeze", x, [axis], (*x.shape[:axis], 1, *x.shape[axis:]), 13)
    elif form == "whole":
        g.reshape(x, (math.prod(x.shape),))


def pieces(g: Graph, x: Tensor) -> None:
    """Split or Slices, and perhaps a Concat of them in some order."""
    axes = [axis for axis, size in enumerate(x.shape) if size >= 2]
    if not axes:
        return
    axis = g.choose(axes)
    size = x.shape[axis]
    middle = g.choose(range(1, size))
    if g.choose([False, True]):
        parts = g.split(x, axis, [middle, size - middle])
    else:
        parts = [g.slice(x, axis, 0, middle), g.slice(x, axis, middle, size)]
    form = g.choose(["leave", "join", "swap", "drop", "with"])
    if form == "drop":
        activation(g, parts[0])
    elif form in ("join", "swap"):
        g.add("Concat", parts if form == "join" else parts[::-1], x.shape, axis=axis)
    elif form == "with":
        shape = (*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
        g.add("Concat", [*parts, x], shape, axis=axis)


def concat(g: Graph, x: Tensor) -> None:
    """Twice the same value or its negative, perhaps joined again, perhaps sliced."""
    if not x.rank or math.prod(x.shape) > 1024:
        return
    axis = g.choose(range(x.rank))
    size = x.shape[axis]
    shape = (*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    y = g.add("Concat", [x, g.add("Neg", [x], x.shape)], shape, axis=axis - g.choose([0, x.rank]))
    form = g.choose(["leave", "again", "slice"])
    if form == "again":
        g.add("Concat", [y, x], (*x.shape[:axis], 3 * size, *x.shape[axis + 1 :]), axis=axis)
    elif form == "slice":
        start = g.choose([0, size])
        g.slice(y, axis, start, start + g.choose(range(1, size + 1)))


def softmax(g: Graph, x: Tensor) -> None:
    """A Softmax or its logarithm over the last axis."""
    if x.rank:
        g.add(g.choose(["Softmax", "Softmax", "LogSoftmax"]), [x], x.shape, axis=x.rank - 1)


def reduce(g: Graph, x: Tensor) -> None:
    """A reduction over one or two axes."""
    if not x.rank:
        return
    axes = sorted({g.choose(range(x.rank)), g.choose(range(x.rank))})
    keep = g.choose([0, 1])
    operator = g.choose(["ReduceMean", "ReduceSum", "ReduceMax"])
    shape = [1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes]
    given = [axis - x.rank for axis in axes] if g.opset >= 11 and g.choose([False, True]) else axes
    g.axes(operator, x, given, shape, 13 if operator == "ReduceSum" else 18, keepdims=keep)


def layer_norm(g: Graph, x: Tensor) -> None:
    """As one operator, or as the pieces that exporters write before opset 17."""
    if x.rank < 2:
        return
    k, row = x.shape[-1], (*x.shape[:-1], 1)
    if g.opset >= 17 and g.choose([False, True]):
        g.add("LayerNormalization", [x, g.weight(k), g.weight(k)], x.shape, axis=-1)
        return
    mean = g.axes("ReduceMean", x, [x.rank - 1], row, 18, keepdims=1)
    centred = g.add("Sub", [x, mean], x.shape)
    squared = g.add("Pow", [centred, g.constant(2, np.float32)], x.shape)
    variance = g.axes("ReduceMean", squared, [x.rank - 1], row, 18, keepdims=1)
    root = g.add("Sqrt", [g.add("Add", [variance, g.constant(1e-2, np.float32)], row)], row)
    normal = g.add("Div", [centred, root], x.shape)
    g.add("Add", [g.add("Mul", [normal, g.weight(k)], x.shape), g.weight(k)], x.shape)


def gather(g: Graph, x: Tensor) -> None:
    """A constant index, or rows of a constant table by an input."""
    indices = [value for value in g.values if value.kind == "int64" and value in g.inputs]
    if indices and g.choose([False, True]):
        index = indices[0]
        rows = g.add("Gather", [g.weight(5, 4), index], (*index.shape, 4), axis=0)
        if g.choose([False, True]):
            g.add("MatMul", [rows, g.weight(4, 3, fan_in=4)], (*index.shape, 3))
        return
    if x.rank:
        axis = g.choose(range(x.rank))
        position = g.constant(g.choose(range(x.shape[axis])), np.int64)
        y = g.add("Gather", [x, position], (*x.shape[:axis], *x.shape[axis + 1 :]), axis=axis)
        if g.choose([False, True]):
            g.axes("Unsqueeze", y, [axis], (*x.shape[:axis], 1, *x.shape[axis + 1 :]), 13)


def one_hot(g: Graph, x: Tensor) -> None:  # noqa: ARG001 - reads the indices, not x
    """A one-hot vector times a matrix."""
    indices = [value for value in g.values if value.kind == "int64" and value in g.inputs]
    if indices:
        index = indices[0]
        inputs: list[Tensor | str] = [index, g.constant(5, np.int64), g.constant([0, 1], np.float32)]
        hot = g.add("OneHot", inputs, (*index.shape, 5))
        g.add("MatMul", [hot, g.weight(5, 3)], (*index.shape, 3))


def casts(g: Graph, x: Tensor) -> None:
    """To float64 and back."""
    wide = g.add("Cast", [x], x.shape, "float64", to=11)
    g.add("Cast", [wide], x.shape, to=1)


def where(g: Graph, x: Tensor) -> None:
    """A constant condition: true, false or mixed."""
    flags = np.asarray(g.choose([[True], [False], [True, False]]))
    if flags.size > 1 and (not x.rank or x.shape[-1] != flags.size):
        return
    g.add("Where", [g.constant(flags), x, g.constant(0.5, np.float32)], x.shape if x.rank else (1,))


def again(g: Graph, x: Tensor) -> None:
    """Twice the same, and their sum."""
    operator = g.choose(["Relu", "Sigmoid", "Tanh"])
    g.add("Add", [g.add(operator, [x], x.shape), g.add(operator, [x], x.shape)], x.shape)


def uniform(g: Graph, x: Tensor) -> None:
    """A constant full of one number, as a weight or made at run time."""
    if g.choose([False, True]) or not x.rank:
        filled: Tensor | str = g.constant(np.full(x.shape, 0.25, np.float32))
    else:
        filled = g.add("ConstantOfShape", [g.constant(x.shape, np.int64)], x.shape)
    g.add(g.choose(["Add", "Mul"]), [x, filled], x.shape)


def shape_of(g: Graph, x: Tensor) -> None:
    """A Reshape to a shape that is computed from the value itself."""
    if x.rank == 3:
        asked = g.add("Shape", [x], (3,), "int64")
        first = g.add("Gather", [asked, g.constant([0], np.int64)], (1,), "int64", axis=0)
        whole = g.add("Concat", [first, g.constant([-1], np.int64)], (2,), "int64", axis=0)
        g.add("Reshape", [x, whole], (x.shape[0], x.shape[1] * x.shape[2]))


STEPS: tuple[Step, ...] = (
    activation, clip, composed_activation, with_constant, binary, expand, matmul, product_of_two, conv, conv,
    batch_norm, transposed_conv, pool, transpose, transpose, reshape, reshape, pieces, concat, softmax,
    reduce, layer_norm, gather, one_hot, casts, where, again, uniform, shape_of,
)  # fmt: skip
