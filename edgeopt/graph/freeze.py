"""Fixes the shapes of a model: afterwards every node has a name, and every shape is known that can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import onnx_ir

from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.constants import lift
from edgeopt.graph.shapes import infer, infer_through_values

if TYPE_CHECKING:
    from edgeopt.graph.model import Model


def freeze(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """Give every input a fixed shape, and infer all others.

    Args:
        model: Left as it is; the result shares its weights.
        shapes: Sizes by input name; inputs whose shape is known already need none.

    Returns:
        A model with static inputs, uniquely named nodes, and constants held as initializers only. A shape
        that depends on the data (NonZero, ...) stays open in the middle of the graph and at outputs.

    Raises:
        ConfigError: `shapes` names an input that the model does not have, or a size below 1.
        ModelError: An input stays open, is empty, has another rank or size, or the sizes contradict each
            other.
    """
    sizes = _bind({spec.name: spec.shape for spec in model.inputs}, shapes)
    symbols = _symbols(model.ir.graph, sizes)
    for spec in model.inputs:
        sizes[spec.name] = _settle(model.ir.graph, spec, sizes[spec.name], symbols)
    graph = model.ir.clone()
    _substitute(graph, sizes, symbols)
    lift(graph)
    name_nodes(graph)
    _infer(graph, model.ir, sizes)
    return replace(
        model,
        ir=graph,
        inputs=tuple(replace(spec, shape=sizes[spec.name]) for spec in model.inputs),
        outputs=tuple(
            replace(spec, shape=_sizes(value.shape) if value.shape is not None else spec.shape)
            for spec, value in zip(model.outputs, graph.graph.outputs, strict=True)
        ),
    )


def fix_inputs(model: onnx_ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write the shapes of one inference's inputs into a graph as a file holds it, in place.

    Args:
        model: Inputs that `shapes` does not name get only the sizes that they share with named ones.
        shapes: Sizes by input name.

    Raises:
        ConfigError: A size is below 1.
        ModelError: There is no such input, it has another rank or size, or sizes contradict each other.
    """
    declared = {str(value.name): _sizes(value.shape or onnx_ir.Shape(())) for value in model.graph.inputs}
    if unknown := sorted(shapes.keys() - declared.keys()):
        raise ModelError(f"the model has no input {unknown[0]!r}", hint=f"its inputs: {', '.join(declared)}")
    sizes = _bind(declared, shapes)
    symbols = _symbols(model.graph, sizes)
    for value in model.graph.inputs:
        if value.shape is not None:
            value.shape = _settled(value.shape, symbols)
    _substitute(model, {name: sizes[name] for name in shapes}, symbols)


def name_nodes(model: onnx_ir.Model) -> None:
    """Make the names of the main graph's nodes unique; the first of several keeps its name."""
    taken = {node.name for node in model.graph}
    seen: set[str] = set()
    for index, node in enumerate(model.graph):
        base = name = node.name or f"{node.op_type}_{index}"
        number = 1
        while name in seen or (name != node.name and name in taken):
            number += 1
            name = f"{base}_{number}"
        seen.add(name)
        node.name = name


def _bind(
    inputs: Mapping[str, tuple[int | None, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int | None, ...]]:
    """The shape of every input, with what `shapes` says filled in."""
    sizes = dict(inputs)
    for name, given in shapes.items():
        if name not in sizes:
            raise ConfigError(
                f"--shape {name}: the model has no such input", hint=f"its inputs: {', '.join(sizes)}"
            )
        if any(size < 1 for size in given):
            raise ConfigError(f"--shape {name}={_text(given)}: sizes must be 1 or more")
        fixed = sizes[name]
        if len(given) != len(fixed):
            raise ModelError(
                f"input {name!r} has {len(fixed)} axes, [{_text(fixed)}]; given: {_text(given) or 'a scalar'}"
            )
        if any(have is not None and have != size for have, size in zip(fixed, given, strict=True)):
            raise ModelError(f"input {name!r} is [{_text(fixed)}]; {_text(given)} contradicts that")
        sizes[name] = given
    return sizes


def _symbols(graph: onnx_ir.Graph, sizes: Mapping[str, tuple[int | None, ...]]) -> dict[str, int]:
    """What each named size (`batch`) of the inputs is.

    Raises:
        ModelError: Two inputs that share a named size are given different ones.
    """
    symbols: dict[str, tuple[int, str]] = {}
    for value in graph.inputs:
        name = str(value.name)
        for dimension, size in zip(value.shape or (), sizes[name], strict=True):
            symbol = dimension.value if isinstance(dimension, onnx_ir.SymbolicDim) else None
            if symbol is None or size is None:
                continue
            bound, by = symbols.setdefault(symbol, (size, name))
            if bound != size:
                raise ModelError(
                    f"inputs {by!r} and {name!r} share the size {symbol!r}, but are given {bound} and {size}"
                )
    return {symbol: size for symbol, (size, _) in symbols.items()}


def _settle(
    graph: onnx_ir.Graph, spec: TensorSpec, sizes: tuple[int | None, ...], symbols: Mapping[str, int]
) -> tuple[int, ...]:
    value = next(value for value in graph.inputs if value.name == spec.name)
    settled = [
        size if size is not None else symbols.get(getattr(dimension, "value", None) or "")
        for size, dimension in zip(sizes, value.shape or (), strict=True)
    ]
    if None in settled:
        example = ",".join(str(size) if size is not None else "N" for size in settled)
        raise ModelError(
            f"input {spec.name!r} has open sizes: {_named(value)}",
            hint=f"give --shape {spec.name}={example} with numbers, or data (--data) that has them",
        )
    if 0 in settled:
        raise ModelError(
            f"input {spec.name!r} is [{_text(sizes)}]: with the size 0 it holds nothing to compute with",
            hint="export the model with an open size there (torch.onnx.export: dynamic_axes, dynamic_shapes)",
        )
    return tuple(size for size in settled if size is not None)


def _substitute(
    model: onnx_ir.Model, sizes: Mapping[str, tuple[int | None, ...]], symbols: Mapping[str, int]
) -> None:
    for value in model.graph.inputs:
        if (size := sizes.get(str(value.name))) is not None:
            value.shape = onnx_ir.Shape(list(size))
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None and not value.shape.is_static():
                value.shape = _settled(value.shape, symbols)


def _settled(shape: onnx_ir.Shape, symbols: Mapping[str, int]) -> onnx_ir.Shape:
    return onnx_ir.Shape([symbols.get(getattr(size, "value", None) or "", size) for size in shape])


def _infer(
    frozen: onnx_ir.Model, original: onnx_ir.Model, sizes: Mapping[str, tuple[int | None, ...]]
) -> None:
    try:
        infer(frozen, strict=True)
    except onnx.shape_inference.InferenceError as error:
        if _inferable(original):  # so it is the shapes that are at fault
            given = ", ".join(f"{name}=[{_text(shape)}]" for name, shape in sizes.items())
            reason = str(error).strip().splitlines()[-1]
            raise ModelError(f"the model does not work with the shapes {given}: {reason}") from error
        infer(frozen, strict=False)
    infer_through_values(frozen)


def _inferable(model: onnx_ir.Model) -> bool:
    try:
        infer(model.clone(), strict=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def _sizes(shape: onnx_ir.Shape) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape)


def _text(sizes: tuple[int | None, ...]) -> str:
    return ",".join("?" if size is None else str(size) for size in sizes)


def _named(value: onnx_ir.Value) -> str:
    dims = [str(d) if isinstance(d, int) else (d.value or "?") for d in value.shape or ()]
    return f"[{', '.join(dims)}]"
