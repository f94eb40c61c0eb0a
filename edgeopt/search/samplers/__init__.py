"""Search strategies, one file each: the file's stem is its name.

A file exposes `create` and `EXAMPLES` (see `Sampler`); nothing else needs to know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeopt.core.space import SearchSpace

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext


@dataclass(frozen=True, slots=True)
class Example:
    """A space that the conformance suite runs a sampler on.

    Attributes:
        refused: A part of the reason with which `create` refuses the space; None if it must accept.
    """

    space: SearchSpace
    refused: str | None = None


class Sampler(Protocol):
    """What a module in this folder looks like.

    One whose agent starts from `SearchContext.policy` also says `TAKES_POLICY = True`: `--policy` is refused
    for any other.
    """

    EXAMPLES: Sequence[Example]

    def create(self, context: SearchContext) -> BaseSampler:
        """A sampler for `context`, usable in any Optuna study over its space.

        Raises:
            ConfigError: It cannot handle this space; says why.
        """
        ...
