"""Raises a model to a newer operator set where something needs it."""

from __future__ import annotations

import onnx
import onnx_ir

from edgeopt.graph.constants import lift
from edgeopt.graph.regions import REGION_TAG, region_of
from edgeopt.graph.serialize import to_proto
from edgeopt.graph.shapes import infer


def at_least_opset(model: onnx_ir.Model, version: int) -> onnx_ir.Model:
    """The model at `version` or newer of the default operator set; else the given model itself.

    Nodes that stay keep their names, metadata and so their regions; nodes that the conversion adds inherit
    the region of the node that reads them. Values keep their names. The result has passed `onnx.checker`;
    where the conversion fails (an operator of another domain, a change without an adapter), the given model
    is returned, and its opset tells the caller.
    """
    if model.graph.opset_imports.get("", 1) >= version:
        return model
    try:
        proto = onnx.version_converter.convert_version(to_proto(model), version)
        onnx.checker.check_model(proto)
    except (RuntimeError, ValueError, onnx.checker.ValidationError):  # ConvertError is a RuntimeError
        return model
    converted = onnx_ir.from_proto(proto)
    if not _same_interface(model, converted):
        return model
    lift(converted)  # axes, which newer operators take as inputs
    _restore(model, converted)
    infer(converted, strict=False)
    return converted


def _same_interface(before: onnx_ir.Model, after: onnx_ir.Model) -> bool:
    names = [[v.name for v in (*m.graph.inputs, *m.graph.outputs)] for m in (before, after)]
    domains = [{node.domain for node in m.graph.all_nodes()} for m in (before, after)]
    return names[0] == names[1] and domains[0] == domains[1]


def _restore(before: onnx_ir.Model, after: onnx_ir.Model) -> None:
    """Put back what onnx's converter drops: metadata, and names of the nodes that it replaced."""
    by_name = {node.name: node for node in before.graph}
    by_output = {output.name: node for node in before.graph for output in node.outputs if output.name}
    given: set[str] = set()
    for node in after.graph:
        old = by_name.get(node.name) or next(
            (by_output[o.name] for o in node.outputs if o.name in by_output), None
        )
        if old is not None and str(old.name) not in given:
            given.add(str(old.name))
            node.name = old.name
            node.metadata_props.update(old.metadata_props)
    taken = {*given}
    for index, node in reversed(list(enumerate(after.graph))):
        if node.name not in given or REGION_TAG not in node.metadata_props:
            name = f"{node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
            readers = [region_of(user) for output in node.outputs for user, _ in output.uses()]
            if readers and readers[0]:
                node.metadata_props[REGION_TAG] = readers[0]
