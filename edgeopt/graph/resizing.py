"""Reads Resize and Upsample: how much, and whether they only repeat elements."""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.constants import array_of
from edgeopt.graph.flops import sizes


def is_cropping(node: onnx_ir.Node) -> bool:
    """Whether it resizes a part of its input only."""
    return node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize"


def scales_of(node: onnx_ir.Node) -> tuple[float, ...] | None:
    """The scale of every axis, from its constant input or the sizes; None where they are not known.

    Source: ONNX Resize-18 (axes), Upsample-9, Resize-10 (the scales are input 1).
    """
    read, written = sizes(node.inputs[0]), sizes(node.outputs[0])
    if read is None or written is None or 0 in read or len(read) != len(written):
        return None
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    if node.op_type == "Upsample" and len(node.inputs) < 2:
        return tuple(node.attributes.get_floats("scales", ())) or None
    position = 1 if len(node.inputs) == 2 else 2
    given = node.inputs[position] if len(node.inputs) > position else None
    if given is None or sizes(given) == (0,):
        return tuple(large / small for small, large in zip(read, written, strict=True))
    array = array_of(given)
    if array is None:
        return None
    axes = [axis % len(read) for axis in node.attributes.get_ints("axes", ())] or list(range(len(read)))
    scales = dict(zip(axes, (float(scale) for scale in array.reshape(-1)), strict=False))
    return tuple(scales.get(axis, 1.0) for axis in range(len(read)))


def repeats(node: onnx_ir.Node) -> tuple[int, ...] | None:
    """How often each element is repeated along each axis, if that is all that it does."""
    scales = scales_of(node)
    if scales is None or is_cropping(node) or node.attributes.get_string("mode", "nearest") != "nearest":
        return None
    if any(scale < 1 or scale != int(scale) for scale in scales):
        return None
    old = node.op_type == "Upsample" or len(node.inputs) == 2  # before opset 11: floor(x / scale)
    how = node.attributes.get_string("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = node.attributes.get_string("nearest_mode", "floor" if old else "round_prefer_floor")
    exact = (how == "asymmetric" and rounding == "floor") or (
        how in ("half_pixel", "half_pixel_symmetric")
        and rounding in ("round_prefer_floor", "round_prefer_ceil")
    )
    return tuple(int(scale) for scale in scales) if exact else None
