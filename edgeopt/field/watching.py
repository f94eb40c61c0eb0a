"""How a rollout tells whoever is watching: a terminal, a log, or nobody. Called from several threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeopt.core.progress import Observer

if TYPE_CHECKING:
    from edgeopt.field.outcome import Outcome


class FleetObserver(Observer):
    """Every method does nothing; a view overrides what it shows."""

    def wave(self, number: int, count: int, names: Sequence[str]) -> None:
        """A wave begins, or goes on: `number` from 1, and the devices that are still to be reached in it."""

    def phase(self, name: str, phase: str) -> None:
        """What is being done with a device: `connecting`, `checking`, `sending`, `installing`, `watching`."""

    def sending(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        """How much of what a device lacks has been sent to it."""

    def done(self, name: str) -> None:
        """Nothing is being done with a device any more."""

    def outcome(self, outcome: Outcome) -> None:
        """A device is done, however it ended."""


class Named(Observer):
    """Passes on what is said of one device, with its name, and drops what is only a state."""

    def __init__(self, name: str, inner: FleetObserver) -> None:
        self._name, self._inner = name, inner

    def announce(self, line: str) -> None:
        self._inner.announce(line if self._name in line else f"{self._name}: {line}")

    def board(self, state: str) -> None:
        self._inner.phase(self._name, state)
