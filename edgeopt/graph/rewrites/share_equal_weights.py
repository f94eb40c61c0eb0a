"""Keep one of several constants that are equal.

    w1 = w2   (type, shape and every bit)   =>   f(x, w2) = f(x, w1)

Before:
    Gemm(x, w1), Gemm(z, w2)        w1 and w2 hold the same bits
After:
    Gemm(x, w1), Gemm(z, w1)

Weights: of any shape, of at least 256 bytes.

Does not apply when:
    - the constants differ in type, shape or a single bit (0 and -0 differ),
    - they are smaller than 256 bytes (a name would cost as much), or strings.

Source: value numbering; Aho, Sethi & Ullman 1986, section 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir

from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 12
EXACT = True
RTOL = 0.0

MIN_BYTES = 256


class ShareEqualWeights:
    """A constant that equals one which stands before it among the graph's."""

    def __init__(self) -> None:
        self._digests: WeakKeyDictionary[object, bytes] = WeakKeyDictionary()
        self._indices: WeakKeyDictionary[onnx_ir.Graph, _Index] = WeakKeyDictionary()

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        refusal: Refusal | None = None
        for position, value in enumerate(node.inputs):
            kind = _kind(value)
            if kind is None or value is None or value.graph is not model.graph:
                continue
            alike = self._index(model.graph).alike(kind)
            first = next(v for v in alike if self._digest(v) == self._digest(value))
            if first is not value:
                return Found((node,), partial(_share, node, position, first))
            if len(alike) > 1:
                refusal = Refusal("no constant before it holds the same bits")
        return refusal

    def _index(self, graph: onnx_ir.Graph) -> _Index:
        """Anew whenever a constant came or went."""
        found = self._indices.get(graph)
        if found is None or not found.is_current(graph):
            found = self._indices[graph] = _Index(graph)
        return found

    def _digest(self, value: onnx_ir.Value) -> bytes:
        tensor = value.const_value
        if tensor is None:
            raise ValueError(f"{value.name} is not constant")
        if (found := self._digests.get(tensor)) is None:
            content = np.ascontiguousarray(tensor.numpy()).tobytes()
            found = self._digests[tensor] = hashlib.blake2b(content, digest_size=16).digest()
        return found


class _Index:
    """The constants of a graph by type and shape, as they were at one time."""

    def __init__(self, graph: onnx_ir.Graph) -> None:
        self._seen = list(graph.initializers.values())
        self._by_kind: dict[Hashable, list[onnx_ir.Value]] = {}
        for value in self._seen:
            if (kind := _kind(value)) is not None:
                self._by_kind.setdefault(kind, []).append(value)

    def is_current(self, graph: onnx_ir.Graph) -> bool:
        now = graph.initializers.values()
        return len(now) == len(self._seen) and all(a is b for a, b in zip(now, self._seen, strict=True))

    def alike(self, kind: Hashable) -> list[onnx_ir.Value]:
        return self._by_kind[kind]


def _kind(value: onnx_ir.Value | None) -> Hashable | None:
    """Type and shape of a constant; None for what is computed, small or a string."""
    tensor = value.const_value if value is not None and value.is_initializer() else None
    if tensor is None or tensor.dtype == onnx_ir.DataType.STRING or tensor.nbytes < MIN_BYTES:
        return None
    return tensor.dtype, tensor.shape.numpy()


def _share(node: onnx_ir.Node, position: int, value: onnx_ir.Value) -> Sequence[onnx_ir.Node]:
    node.replace_input_with(position, value)
    return [node]


RULES = (ShareEqualWeights(),)


def _example(second: str, becomes: tuple[str, ...] | None, reason: str = "", size: int = 64) -> Example:
    first = ", ".join(str(number) for number in range(size))
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[{size}] x) => (float[{size}] y)
        <float[{size}] a = {{{first}}}, float[{size}] b = {{{first.replace("63", second)}}}>
        {{ n = Add(x, a)
           y = Mul(n, b) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("63", ("Add", "Mul")),
    _example("64", None, "same bits"),
    _example("", None, size=8),
)
