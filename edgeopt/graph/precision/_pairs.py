"""The int8 activations of a graph: one QuantizeLinear/DequantizeLinear pair per tensor.

- Behind an int8 node the pair takes over the tensor's name, so everybody reads the dequantized values.
- Behind a float32 node or a graph input only int8 readers go through the pair.

Source: the QDQ form, as ONNX Runtime's selectors look for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.precision import _arithmetic as arithmetic
from edgeopt.graph.precision._arithmetic import Affine, Floats
from edgeopt.graph.precision._weights import Int8
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit


_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
"""They keep every value."""


class Pairs:
    """Which tensors of one candidate are int8, and how."""

    def __init__(self, edit: Edit) -> None:
        self._edit = edit
        self._read_as: dict[ir.Value, ir.Value] = {}
        self._params: dict[ir.Value, tuple[ir.Value, ir.Value, Affine]] = {}
        self._computed: set[ir.Value] = set()
        self._folded: set[ir.Node] = set()

    def affine(self, value: ir.Value) -> Affine | None:
        """How `value` is, or would be, mapped to int8; None if its range is not known or it is no float32."""
        if value in self._params:
            return self._params[value][2]
        array = self._edit.weights.floats(value)
        if array is not None:
            return arithmetic.activation(float(array.min(initial=0.0)), float(array.max(initial=0.0)))
        if value.dtype not in (ir.DataType.FLOAT, None) or self._edit.ranges is None:
            return None
        found = self._edit.ranges.of(str(value.name)) or self._range_behind(value)
        return None if found is None else arithmetic.activation(*found)

    def _range_behind(self, value: ir.Value) -> tuple[float, float] | None:
        """The range of what a rewrite made, by its reader: a reshaping, MaxPool, Split, Add of a constant."""
        edit = self._edit
        if edit.ranges is None or str(value.name) in edit.ranges.by_tensor:
            return None if edit.ranges is None else edit.ranges.of(str(value.name))
        users = [user for user, index in value.uses() if index == 0 or user.op_type == "Add"]
        if len(users) != 1 or len(tuple(value.uses())) != 1:
            return None
        user = users[0]
        if user.op_type == "Split" and not user.domain:
            parts = [self._range_behind(output) for output in user.outputs]
            known = [part for part in parts if part is not None]
            whole = (min(low for low, _ in known), max(high for _, high in known)) if known else None
            return whole if len(known) == len(parts) else None
        # What MaxPool drops may be clipped: it stays below what it keeps.
        passed = (*_RESHAPING, "MaxPool", "Add")
        behind = self._range_behind(user.outputs[0]) if user.op_type in passed else None
        if behind is None or user.op_type != "Add":
            return behind
        added = edit.weights.floats(user.inputs[1] if user.inputs[0] is value else user.inputs[0])
        if added is None or not added.size:
            return None
        return behind[0] - float(added.max()), behind[1] - float(added.min())

    def is_known(self, value: ir.Value) -> bool:
        """True if `value` is the output of a pair made here."""
        return value in self._params

    def is_computed(self, value: ir.Value) -> bool:
        """True if an int8 node computed `value`."""
        return value in self._computed or str(value.name) in self._edit.inflow

    @property
    def computed(self) -> frozenset[str]:
        """Names of the values that int8 nodes computed."""
        return frozenset(str(value.name) for value in self._computed)

    def fold(self, activation: ir.Node) -> None:
        """Remember that `activation` is computed by quantizing the int8 node before it."""
        self._folded.add(activation)

    def is_folded(self, node: ir.Node) -> bool:
        return node in self._folded

    def read(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        """`value` as int8 nodes read it: its pair's output, made before `reader` if there is none.

        Args:
            value: Its `affine` is known.
        """
        if value in self._params:
            return value
        if value not in self._read_as:
            self._read_as[value] = self._quantized(value, reader)
        return self._read_as[value]

    def write(self, value: ir.Value, like: ir.Value | None = None) -> None:
        """Put a pair behind `value`, the output of an int8 node; all readers then read the pair.

        Args:
            value: Its `affine` is known, unless `like` is given.
            like: A tensor that was `read`: its scale and zero point are used (pass-through operators).
        """
        node, name, edit = value.producer(), str(value.name), self._edit
        if node is None:
            raise ValueError(f"{name!r} is computed by no node")
        scale, zero_point, affine = self._params[like] if like is not None else self._new_params(value)
        region = region_of(node)
        to_int8 = edit.make("QuantizeLinear", [value, scale, zero_point], region=region, name=f"q_{name}")
        integers = to_int8.outputs[0]
        to_float = edit.make(
            "DequantizeLinear", [integers, scale, zero_point], region=region, name=f"dq_{name}"
        )
        edit.graph.insert_after(node, [to_int8, to_float])
        made = to_float.outputs[0]
        edit.take_over(value, made, but=to_int8)
        self._params[made] = (scale, zero_point, affine)
        self._computed.add(made)

    def write_integers(self, node: ir.Node, inputs: Sequence[ir.Value | None], like: ir.Value) -> None:
        """Replace `node` by the same operator on the integers themselves, and a DequantizeLinear behind it.

        For operators that the runtime does not take out of a pair, although they compute on integers, too.

        Args:
            inputs: None stands for the integers of `like` first, and for its zero point elsewhere.
            like: A tensor that was `read`: it gives integers, scale and zero point.
        """
        scale, zero_point, affine = self._params[like]
        producer = like.producer()
        if producer is None:
            raise ValueError(f"{like.name!r} is computed by no node")
        edit, region, name = self._edit, region_of(node), str(node.name)
        given = [producer.inputs[0], *(zero_point if value is None else value for value in inputs[1:])]
        moved = edit.make(node.op_type, given, region=region, name=name, attributes=dict(node.attributes))
        to_float = edit.make(
            "DequantizeLinear", [moved.outputs[0], scale, zero_point], region=region, name=f"dq_{name}"
        )
        edit.graph.insert_before(node, [moved, to_float])
        made = to_float.outputs[0]
        edit.take_over(node.outputs[0], made)
        edit.graph.remove(node, safe=True)
        self._params[made] = (scale, zero_point, affine)
        self._computed.add(made)

    def weight(self, value: ir.Value, made: Int8, reader: ir.Node) -> ir.Value:
        """The dequantized form `made` of weight `value`; readers that want the same one share it."""

        def make() -> ir.Value:
            stored = self._edit.initializer(f"{value.name}__int8", made.values)
            scale = self._edit.initializer(f"{value.name}__scale", made.scale)
            zero = self._edit.initializer(f"{value.name}__zero", np.zeros(made.scale.shape, np.int8))
            axis = {} if made.axis is None else {"axis": made.axis}
            inputs = [stored, scale, zero]
            return self._edit.before(
                reader, "DequantizeLinear", inputs, name=f"dq_{value.name}", attributes=axis
            )

        # Two layers that read different tensors may have rounded the same weight differently.
        same = made.values.tobytes() if self._edit.rounding is not None else b""
        form = f"{made.axis} {made.scale.tobytes().hex()} {sha256(same).hexdigest()}"
        return self._edit.shared(value, form, make)

    def bias(self, levels: NDArray[np.int32], unit: Floats, reader: ir.Node) -> ir.Value:
        """A dequantized int32 bias of `reader`."""
        name = f"{reader.name}__bias"
        stored = self._edit.initializer(name, levels)
        scale = self._edit.initializer(f"{name}_scale", unit)
        zero = self._edit.initializer(f"{name}_zero", np.zeros(unit.shape, np.int32))
        axis = {"axis": 0} if unit.ndim else {}
        inputs = [stored, scale, zero]
        return self._edit.before(reader, "DequantizeLinear", inputs, name=f"dq_{name}", attributes=axis)

    def _quantized(self, value: ir.Value, reader: ir.Node) -> ir.Value:
        edit, name = self._edit, str(value.name)
        scale, zero_point, affine = self._new_params(value)
        array = edit.weights.floats(value)
        if array is not None:
            integers = edit.initializer(f"{name}__int8", self._stored(arithmetic.quantize(array, affine)))
        else:
            integers = edit.before(reader, "QuantizeLinear", [value, scale, zero_point], name=f"q_{name}")
        made = edit.before(reader, "DequantizeLinear", [integers, scale, zero_point], name=f"dq_{name}")
        made.type, made.shape = value.type, value.shape
        self._params[made] = (scale, zero_point, affine)
        return made

    def _new_params(self, value: ir.Value) -> tuple[ir.Value, ir.Value, Affine]:
        affine = self.affine(value)
        if affine is None:
            raise ValueError(f"the range of {value.name!r} is not known")
        scale = self._edit.initializer(f"{value.name}__scale", np.array(affine.scale, np.float32))
        zero = self._stored(np.array(affine.zero_point, np.int8))
        zero_point = self._edit.initializer(f"{value.name}__zero_point", zero)
        return scale, zero_point, affine

    def _stored(self, integers: NDArray[np.int8]) -> NDArray[np.int8] | NDArray[np.uint8]:
        return arithmetic.unsigned(integers) if self._edit.unsigned else integers
