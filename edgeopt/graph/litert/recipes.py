"""What litert-quantizer can make of a region, by the names that ONNX Runtime's schemes have.

The same name means the same arithmetic, made by the runtime's own tool: what is learnt of one region's loss
under one runtime is a fair guess of it under the other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

UNCHANGED = "float32"

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What has weights, in ONNX: they become CONV_2D, DEPTHWISE_CONV_2D, CONV_2D_TRANSPOSE, FULLY_CONNECTED and
BATCH_MATMUL."""
_NARROW = frozenset({"Conv", "Gemm", "MatMul"})
"""For which LiteRT has kernels with weights of 4 bits."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to store and compute a region.

    Attributes:
        operators: Of ONNX; a region without any of them has nothing to gain.
        is_static: Whether activations are quantized by calibrated ranges.
    """

    operators: frozenset[str]
    is_static: bool = False


RECIPES = {
    "int8_static_channel": Recipe(_PRODUCTS, is_static=True),
    "int16x8": Recipe(_PRODUCTS, is_static=True),
    "int8_dynamic": Recipe(_PRODUCTS),
    "float16_weights": Recipe(_PRODUCTS),
    "int8_weights": Recipe(_PRODUCTS),
    "int4_weights": Recipe(_NARROW),
}
"""By name, in the order in which they are offered. Source: litert-quantizer 0.11's default policy."""

REWRITES_TO_FOREIGN_OPERATORS = frozenset({
    "fuse_attention", "fuse_bias_gelu", "fuse_gelu", "fuse_rmsnorm", "fuse_silu", "fuse_skip_layernorm",
})  # fmt: skip
"""They make operators that only ONNX Runtime has, or that are too new for the converter."""


def applicable(operators: Collection[str]) -> tuple[str, ...]:
    """The recipes for a region of these operators, without leaving it in float32."""
    return tuple(name for name, recipe in RECIPES.items() if recipe.operators & set(operators))
