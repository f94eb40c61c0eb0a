"""Fixes the shapes of a model: afterwards every node has a name and every shape that can be known is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

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
        ModelError: An input stays open, has another rank or size, or the sizes contradict each other.
    """
    raise NotImplementedError
