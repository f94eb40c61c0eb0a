"""Computes outputs on this machine, for proofs and for accuracy; never times anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import Feeds
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.scratch import scratch
from edgeopt.graph.equivalence import Run as RunBytes
from edgeopt.graph.model import Model
from edgeopt.graph.regions import regions
from edgeopt.optimize.batch import Batch, Run
from edgeopt.runtimes.feeding import fed
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.runtimes.probe import Probe

SMALL_FLOPS = 100e6
"""Below this, threads wait for each other longer than they compute."""


def host_options(model: Model) -> dict[str, object]:
    """How a frozen model and its variants are run on this machine."""
    flops = sum(region.flops for region in regions(model))
    return {"threads": 1 if flops < SMALL_FLOPS else 0}


class Host:
    """Loads artifacts on this machine, each in a child process first: one that kills the runtime only fails.

    Attributes:
        batch: Samples come one at a time, the artifact may take more.
        options: See `host_options`.
    """

    def __init__(self, batch: Batch, probe: Probe, options: Mapping[str, object]) -> None:
        self.batch, self.options, self._probe = batch, options, probe
        self._loadable: set[tuple[str, object]] = set()

    def run(self, artifact: Artifact) -> Run:
        """Inference of single samples of the original's inputs, at the optimization level of the board: it
        changes rounding.

        Raises:
            CandidateFailed: The runtime refuses the artifact, or dies of it.
            ModelError: The same.
        """
        level = artifact.session_options.get("graph_optimization_level", "all")
        options = {**self.options, "graph_optimization_level": level}
        if (artifact.sha256, level) not in self._loadable:
            self._probe.check(artifact.path, options)
            self._loadable.add((artifact.sha256, level))
        session, interface = Session(artifact.path, options), artifact.interface
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
