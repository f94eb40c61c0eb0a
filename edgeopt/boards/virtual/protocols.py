"""What a virtual board is made of: an emulator that runs, and a price for what it executed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgeopt.boards.virtual.counting import Counts

if TYPE_CHECKING:
    from edgeopt.boards.virtual.cycles import Estimate


class Machine(Protocol):
    """The running emulator, as `edgeopt.boards.virtual.machine` starts it.

    Attributes:
        url: An SSH address.
        counts: Folder in which the counting plugin writes.
        packages: File that lists what is installed, with versions.
    """

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def counts(self) -> Path: ...
    @property
    def packages(self) -> Path: ...
    @property
    def alive(self) -> bool: ...
    def lock(self, waiting: Callable[[], None] = ...) -> contextlib.AbstractContextManager[object]: ...


class Pricing(Protocol):
    """What a counted run costs: `edgeopt.boards.virtual.cycles.CycleModel`."""

    @property
    def pairwise_error(self) -> float: ...
    @property
    def cores(self) -> int: ...
    @property
    def caches(self) -> Sequence[Any]: ...
    def price(self, counts: Counts, threads: int) -> Estimate: ...
