"""A board that is not there: every figure comes from the device's profile, and says so.

It computes nothing, so what a model cannot know (percentiles, cold start, memory, throttling) stays None.
Reading a graph belongs to another layer: the caller passes `workload`, which tells what an artifact costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import BoardFacts, Feeds, require_threads, shapes_of
from edgeopt.boards.meters import EnergySource
from edgeopt.boards.roofline import Roofline
from edgeopt.core.artifact import Artifact
from edgeopt.core.closing import Closing
from edgeopt.core.errors import BoardError, CandidateFailed, ModelError
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import Provenance
from edgeopt.core.workload import NodeCost
from edgeopt.runtimes.feeding import fed

Workload = Callable[[Artifact, Mapping[str, tuple[int, ...]]], Sequence[NodeCost]]
"""The nodes that the runtime would execute for an artifact, given the shapes of its inputs by name (those not
named are as its file says); raises ModelError if it cannot be read."""


class PredictedBoard(Closing):
    """A `Board` made of a profile alone.

    Raises:
        ConfigError: The profile does not know enough to predict anything (`local`).
    """

    name = "predicted"
    provenance: Provenance = "predicted"
    energy_source: EnergySource | None = None
    is_this_machine = False

    def __init__(self, profile: DeviceProfile, workload: Workload, runtimes: dict[str, str]) -> None:
        """`runtimes` are the versions to assume on the board: those of this host."""
        self.device = profile.name
        self.roofline = Roofline.of(profile)
        self.pairwise_error = float(profile.get("model", "pairwise_error"))
        ram_bytes = profile.get("memory", "ram_bytes")
        self.facts = BoardFacts(
            machine=profile.get("cpu", "machine"),
            cores=self.roofline.cores,
            model=f"{profile.title} (predicted)",
            core_parts=(profile.get("cpu", "part"),) * self.roofline.cores,
            features=tuple(profile.get("cpu", "features")),
            # A device sold in several sizes: nothing says which one this would be.
            ram_bytes=ram_bytes[0] if len(ram_bytes) == 1 else None,
            runtimes=runtimes,
        )
        self._workload = workload

    def measure(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """Predict each artifact's latency; of `feeds` only the shapes count."""
        results: list[Measurement | CandidateFailed] = []
        control_ms: float | None = None
        for artifact in artifacts:
            try:
                costs = self._workload(artifact, shapes_of(fed(artifact.interface, feeds)))
            except ModelError as error:
                results.append(CandidateFailed(f"cannot be predicted: {error.message}", error.hint))
                continue
            threads = self.threads(artifact)
            latency = self.roofline.latency(costs, threads)
            control_ms = latency.value if artifact is artifacts[0] else control_ms
            results.append(
                Measurement(
                    latency,
                    control_ratio=latency.value / control_ms if control_ms else None,
                    roofline_fraction=self._roofline_fraction(costs, threads, latency.value),
                    protocol=protocol.name,
                )
            )
        return results

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        """See `Board.compare_with`: it makes no difference here."""

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        """Predicted time of each executed node in ms."""
        del runs
        costs = self._workload(artifact, shapes_of(fed(artifact.interface, feeds)))
        times = self.roofline.node_times_ms(costs, self.threads(artifact))
        return {cost.name: ms for cost, ms in zip(costs, times, strict=True)}

    def infer(self, artifact: Artifact, samples: Iterable[Feeds]) -> Iterator[list[NDArray[np.generic]]]:
        """Refused.

        Raises:
            BoardError: Always: a predicted board computes nothing.
        """
        del artifact, samples
        raise BoardError(
            f"the {self.device} is predicted, not there: it cannot compute the model's outputs",
            hint="configure a board: edgeopt boards add NAME ssh://user@host --device " + self.device,
        )

    def threads(self, artifact: Artifact) -> int:
        """Threads that an artifact runs on: 0 or nothing said is the runtime's default, every core.

        Raises:
            ConfigError: More than there are cores.
        """
        asked = artifact.session_options.get("threads")
        threads = asked if isinstance(asked, int) and asked > 0 else self.roofline.cores
        require_threads(threads, self.roofline.cores, self.name)
        return threads

    def close(self) -> None:
        """Nothing is held."""

    def _roofline_fraction(self, costs: Sequence[NodeCost], threads: int, latency_ms: float) -> float | None:
        """Time at the ceiling of each kind of arithmetic / predicted time."""
        ceiling_ms = sum(c.flops / self.roofline.peak_gflops(c.compute, threads) for c in costs) / 1e6
        # Published kernels of some cores beat the nominal peak by doing fewer multiplications (Winograd).
        return min(1.0, ceiling_ms / latency_ms) if latency_ms else None
