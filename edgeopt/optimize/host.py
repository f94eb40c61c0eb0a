"""Computes outputs on this machine, for proofs and for accuracy; never times anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import Feeds
from edgeopt.core.artifact import Artifact, computing
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.scratch import scratch
from edgeopt.graph.equivalence import Run as RunBytes
from edgeopt.graph.model import Model
from edgeopt.graph.regions import regions
from edgeopt.optimize.batch import Batch, Run
from edgeopt.runtimes import litert, onnxruntime
from edgeopt.runtimes.feeding import fed
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.runtimes.probe import Probe


class Loaded(Protocol):
    """A model that a runtime has loaded."""

    def run(self, feeds: Feeds) -> list[NDArray[np.generic]]:
        """The outputs of one inference."""
        ...


SMALL_FLOPS = 100e6
"""Below this, threads wait for each other longer than they compute."""


def host_options(model: Model) -> dict[str, object]:
    """How a frozen model and its variants are run on this machine."""
    flops = sum(region.flops for region in regions(model))
    return {"threads": 1 if flops < SMALL_FLOPS else 0}


SESSIONS: Mapping[str, Callable[[Path, Mapping[str, object]], Loaded]] = {
    onnxruntime.NAME: onnxruntime.Session,
    litert.NAME: litert.Session,
}
"""How a runtime loads a file on this machine."""


class Host:
    """Loads artifacts on this machine, each in a child process first: one that kills the runtime only fails.

    Attributes:
        batch: Samples come one at a time, the artifact may take more.
        options: See `host_options`.
    """

    def __init__(self, batch: Batch, probe: Probe, options: Mapping[str, object]) -> None:
        self.batch, self.options, self._probe = batch, options, probe
        self._loadable: set[tuple[str, str]] = set()

    def run(self, artifact: Artifact) -> Run:
        """Inference of single samples of the original's inputs, with the settings of the board that change
        rounding.

        Raises:
            CandidateFailed: The runtime refuses the artifact, or dies of it.
            ModelError: The same.
        """
        options = {**self.options, **computing(artifact)}
        if (key := (artifact.sha256, str(computing(artifact)))) not in self._loadable:
            self._probe.check(artifact.path, options, artifact.runtime)
            self._loadable.add(key)
        session, interface = SESSIONS[artifact.runtime](artifact.path, options), artifact.interface
        return self.batch.run(lambda feeds: session.run(fed(interface, feeds)))

    def load(self, model: bytes, options: Mapping[str, object]) -> Session:
        """Load a model that is in no file.

        Raises:
            ModelError: The runtime refuses it, or dies of it.
        """
        with scratch() as folder:
            path = folder / "model.onnx"
            path.write_bytes(model)
            try:
                self._probe.check(path, options)
            except CandidateFailed as error:
                raise ModelError(error.message) from error
            return Session(path, options)


def run_bytes() -> RunBytes:
    """Runs models given as bytes, each loaded once."""
    loaded = cache(Session)

    def run(model: bytes, feeds: Feeds) -> Sequence[NDArray[np.generic]]:
        return loaded(model).run(feeds)

    return run
