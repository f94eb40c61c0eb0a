"""As it was given: nothing is changed.

Maths: none. Applies to every node, and is the default of every `precision@REGION`.

Source: IEEE 754 binary32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.graph.precision._examples import CNN, MLP

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeopt.graph.precision._edit import Edit

STATIC = False
LOSSY = False
WEIGHT_BITS = 32
MAX_ERROR = 0.0

EXAMPLES = (CNN, MLP)


def applies(node: ir.Node) -> bool:  # noqa: ARG001 - the protocol's signature
    """See `Scheme.applies`."""
    return True


def apply(node: ir.Node, edit: Edit) -> bool:  # noqa: ARG001 - the protocol's signature
    """See `Scheme.apply`."""
    return False
