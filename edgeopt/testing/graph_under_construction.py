"""A graph that grows node by node, every shape right by construction, in any opset from 9 to 21."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Choose = Callable[[Sequence[Any]], Any]
"""Picks one of several things: hypothesis, or a seeded generator."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the graph: name, static shape, and its type."""

    name: str
    shape: tuple[int, ...]
    kind: str = "float32"

    @property
    def rank(self) -> int:
        return len(self.shape)


_KINDS = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


@dataclass
class Graph:
    """Nodes, constants and values so far.

    Args:
        opset: Version of the standard operators to write.
        choose: Picks.
        seed: Of the weights.
    """

    opset: int
    choose: Choose
    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def input(self, shape: Sequence[int], kind: str = "float32") -> Tensor:
        """An input of the model."""
        value = Tensor(f"in{len(self.inputs)}", tuple(shape), kind)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def constant(self, array: NDArray[Any] | Sequence[int] | float, dtype: Any = None) -> str:
        """A constant; the name of it."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        """A constant of tame random numbers, such that sums over `fan_in` of them stay near 1."""
        numbers = self._random.uniform(-1, 1, shape) / np.sqrt(fan_in)
        return self.constant(numbers.astype(np.float32))

    def positive(self, *shape: int) -> str:
        """A constant of random numbers in [0.5, 2]."""
        return self.constant(self._random.uniform(0.5, 2, shape).astype(np.float32))

    def add(
        self,
        operator: str,
        inputs: Sequence[Tensor | str],
        shape: Sequence[int],
        kind: str = "float32",
        /,
        **attributes: Any,
    ) -> Tensor:
        """A node of one output."""
        return self.add_many(operator, inputs, [shape], kind, **attributes)[0]

    def add_many(
        self,
        operator: str,
        inputs: Sequence[Tensor | str],
        shapes: Sequence[Sequence[int]],
        kind: str = "float32",
        /,
        **attributes: Any,
    ) -> list[Tensor]:
        """A node of several outputs."""
        names = [each.name if isinstance(each, Tensor) else each for each in inputs]
        self.read.update(names)
        base = len(self.values)
        outputs = [Tensor(f"v{base + i}", tuple(shape), kind) for i, shape in enumerate(shapes)]
        self.nodes.append(
            helper.make_node(
                operator,
                names,
                [each.name for each in outputs],
                f"{operator}_{len(self.nodes)}",
                **attributes,
            )
        )
        self.values += outputs
        return outputs

    def floats(self) -> list[Tensor]:
        """The values that most layers take."""
        return [value for value in self.values if value.kind == "float32"]

    def proto(self) -> onnx.ModelProto:
        """The model: its outputs are what nothing reads, and one more value that something does."""
        computed = [value for value in self.values if value not in self.inputs]
        outputs = [value for value in computed if value.name not in self.read]
        also = self.choose([None, *(value for value in computed if value.name in self.read)])
        outputs += [also] if also is not None else []
        graph = helper.make_graph(
            self.nodes,
            "random",
            [_info(value) for value in self.inputs],
            [_info(value) for value in outputs],
            self.constants,
        )
        imports = [helper.make_opsetid("", self.opset)]
        ir_version = max(8, helper.find_min_ir_version_for(imports))
        model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
        onnx.checker.check_model(model, full_check=True)
        return model

    # What is written differently in different opsets.

    def axes(
        self,
        operator: str,
        x: Tensor,
        axes: Sequence[int],
        shape: Sequence[int],
        since: int,
        **attributes: Any,
    ) -> Tensor:
        """Squeeze, Unsqueeze and reductions: their axes are an input from opset `since` on."""
        if self.opset < since:
            return self.add(operator, [x], shape, x.kind, axes=list(axes), **attributes)
        return self.add(operator, [x, self.constant(axes, np.int64)], shape, x.kind, **attributes)

    def slice(self, x: Tensor, axis: int, start: int, stop: int) -> Tensor:
        """`[start, stop)` of one axis."""
        shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
        if self.opset < 10:
            return self.add("Slice", [x], shape, x.kind, axes=[axis], starts=[start], ends=[stop])
        bounds = [self.constant([each], np.int64) for each in (start, stop, axis)]
        return self.add("Slice", [x, *bounds], shape, x.kind)

    def split(self, x: Tensor, axis: int, parts: Sequence[int]) -> list[Tensor]:
        """Parts along one axis."""
        shapes = [(*x.shape[:axis], part, *x.shape[axis + 1 :]) for part in parts]
        if self.opset < 13:
            return self.add_many("Split", [x], shapes, x.kind, axis=axis, split=list(parts))
        return self.add_many("Split", [x, self.constant(parts, np.int64)], shapes, x.kind, axis=axis)

    def pad(self, x: Tensor, begins: Sequence[int], ends: Sequence[int], mode: str, number: float) -> Tensor:
        """A border around every axis."""
        shape = [size + b + e for size, b, e in zip(x.shape, begins, ends, strict=True)]
        if self.opset < 11:
            return self.add("Pad", [x], shape, pads=[*begins, *ends], mode=mode, value=number)
        pads = self.constant([*begins, *ends], np.int64)
        return self.add("Pad", [x, pads, self.constant(number, np.float32)], shape, mode=mode)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """Numbers within bounds."""
        if self.opset < 11:
            return self.add("Clip", [x], x.shape, min=low, max=high)
        bounds = [self.constant(low, np.float32), self.constant(high, np.float32)]
        return self.add("Clip", [x, *bounds], x.shape)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same numbers in another shape."""
        return self.add("Reshape", [x, self.constant(list(shape), np.int64)], shape, x.kind)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """The axes in another order."""
        return self.add("Transpose", [x], [x.shape[axis] for axis in order], x.kind, perm=list(order))


def _info(value: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, _KINDS[value.kind], value.shape)
