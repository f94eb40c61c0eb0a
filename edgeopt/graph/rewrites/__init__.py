"""Rewrites: changes of a graph that keep what it computes. One file each; the file's stem is its name.

To add one, add a file: `docs/adding-a-rewrite.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edgeopt.core.interface import Levels

if TYPE_CHECKING:
    import onnx_ir

    from edgeopt.graph.matching import Found, Refusal


@dataclass(frozen=True, slots=True)
class Example:
    """A tiny model on which a rewrite is tried, by the conformance suite and by whoever reads its file.

    Attributes:
        model: In the syntax of `onnx.parser`, with static input shapes.
        becomes: Operators after the rewrite, in order; None: the rewrite does not apply.
        reason: Words of the refusal, where the rewrite gives one.
        levels: Of inputs by name, the bytes that their values are made of, where an example needs them.
    """

    model: str
    becomes: tuple[str, ...] | None
    reason: str = ""
    levels: Mapping[str, Levels] = field(default_factory=dict)


class Rule(Protocol):
    """Finds one kind of place in a graph where a rewrite can be made."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """Look at one node of the main graph, as the last of a place; change nothing.

        Returns:
            What would be replaced; why not, where the operators fit but something else does not; or None
            for a node that is of no interest.
        """
        ...


class Rewrite(Protocol):
    """What a module of this family exposes.

    Attributes:
        ORDER: Rewrites are applied in ascending order.
        EXACT: It computes the same up to rounding, so it needs no data to be searched.
        SITUATIONAL: May be left out. True: faster in some places and slower in others, so that only the
            search makes it; the well-known recipes do not.
        INTERFACE: May be left out. What of the model's inputs it changes, as `--allow-interface` calls it
            (`uint8-input`): only offered where that is allowed, and noted with `graph.interface.change`.
        RTOL: Largest error allowed, relative to the largest magnitude of the output.
        RULES: Tried at each node in this order.
        EXAMPLES: Where it applies and where it does not; at least one of each.
    """

    ORDER: int
    EXACT: bool
    RTOL: float
    RULES: Sequence[Rule]
    EXAMPLES: Sequence[Example]
