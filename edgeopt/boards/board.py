"""What the rest of edgeopt asks of a board, physical, virtual or predicted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.meters import EnergySource
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, ConfigError
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.quantity import Provenance

Feeds = Mapping[str, NDArray[np.generic]]


def shapes_of(feeds: Feeds) -> dict[str, tuple[int, ...]]:
    """The shape of each input, by its name."""
    return {name: value.shape for name, value in feeds.items()}


def require_threads(threads: int | None, cores: int, board: str) -> None:
    """More threads than cores only wait for each other, and no model of a board tells how long.

    Raises:
        ConfigError: It is more.
    """
    if threads is not None and threads > cores:
        raise ConfigError(f"--threads {threads}: {board} has {cores} cores", hint=f"--threads {cores}")


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """Who a board says it is; unknown is None.

    Attributes:
        machine: `uname -m` of the running kernel (`aarch64`, `x86_64`, ...).
        model: Device-tree model, or the CPU's name.
        compatible: Of the device tree's root: the board, then its SoC (`brcm,bcm2711`).
        core_parts: CPU part numbers, one per core (`0xd08` is a Cortex-A72); empty where not given.
        features: ISA flags (`asimddp`, `asimdhp`, ...).
        userland_bits: Of the Python that runs the models: 64-bit kernels carry 32-bit userlands.
        runtimes: Installed runtimes and their versions.
        kernel_build: `uname -v`: distributions rebuild a kernel under the same release.
        firmware: Version of the Raspberry Pi's firmware, U-Boot or BIOS.
        governor: cpufreq governor; several where the cores differ.
        clock_limits_khz: What the cores are made to run at; several where they differ.
    """

    machine: str
    cores: int
    model: str | None = None
    compatible: tuple[str, ...] = ()
    core_parts: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    ram_bytes: int | None = None
    kernel: str | None = None
    kernel_build: str | None = None
    firmware: str | None = None
    os: str | None = None
    python: str | None = None
    userland_bits: int | None = None
    governor: str | None = None
    clock_limits_khz: str | None = None
    runtimes: Mapping[str, str] = field(default_factory=dict)

    @property
    def epoch(self) -> str:
        """Digest of all that changes how fast a model runs: a new epoch measures its references again."""
        return value_digest(*(_plain(getattr(self, name)) for name in EPOCH))

    def changes(self, later: BoardFacts) -> list[str]:
        """What opens a new epoch: each fact with its value in these facts and in `later` ones."""
        pairs = {name: (_plain(getattr(self, name)), _plain(getattr(later, name))) for name in EPOCH}
        return [
            f"{name.replace('_', ' ')} was {was}, is {now}"
            for name, (was, now) in pairs.items()
            if was != now
        ]


EPOCH = (
    "machine", "cores", "model", "core_parts", "features", "ram_bytes", "kernel", "kernel_build", "firmware",
    "governor", "clock_limits_khz", "runtimes",
)  # fmt: skip
"""The facts that change how fast a model runs."""


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value


class Board(Protocol):
    """One unit on which artifacts are measured.

    Every method raises `BoardError` when the *board* fails; a bad *candidate* is reported in the result.
    """

    name: str
    """As the user named it (`local`, `predicted`, `kitchen-pi`, `ssh://pi@10.0.0.7`)."""
    device: str
    """Name of its device profile."""
    provenance: Provenance
    facts: BoardFacts
    is_this_machine: bool
    """True if host work disturbs its measurements (local, loopback)."""
    pairwise_error: float
    """Two of its figures for variants of one model closer than this (relative) are a tie: what its model may
    be off in their ratio. 0 where figures are measured: their noise is known from repetitions."""

    @property
    def energy_source(self) -> EnergySource | None:
        """What its energies come from; None if it tells none."""
        ...

    def measure(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """Measure artifacts in turns, one fresh process each; the first is the control.

        Args:
            artifacts: At least one; `Measurement.control_ratio` relates each to the first.
            feeds: One inference's inputs, by input name, as the original takes them: each artifact is `fed`
                what it takes.

        Returns:
            One result per artifact, in order; `CandidateFailed` where the artifact crashed, ran out of
            memory or passed its deadline.
        """
        ...

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        """Told before anything else is measured with inputs of these shapes: all will be compared with this.

        Clocks do not care; a board that counts does it the same way for all variants of a model.
        """
        ...

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        """Mean time of each executed node in ms, by node name as the runtime reports it."""
        ...

    def infer(self, artifact: Artifact, samples: Iterable[Feeds]) -> Iterator[list[NDArray[np.generic]]]:
        """Outputs of each sample, computed on the board itself."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
