"""Computes outputs on this machine, for proofs and for accuracy; never times anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import Feeds
from edgeopt.core.artifact import Artifact
from edgeopt.graph.equivalence import Run as RunBytes
from edgeopt.optimize.batch import Batch, Run
from edgeopt.runtimes.onnxruntime import Session


def host_run(artifact: Artifact, batch: Batch) -> Run:
    """Inference of single samples, at the optimization level that the board will use: it changes rounding.

    Raises:
        ModelError: The runtime refuses the artifact.
    """
    level = artifact.session_options.get("graph_optimization_level", "all")
    return batch.run(Session(artifact.path, {"threads": 0, "graph_optimization_level": level}).run)


def run_bytes() -> RunBytes:
    """Runs models given as bytes, each loaded once."""
    loaded = cache(Session)

    def run(model: bytes, feeds: Feeds) -> Sequence[NDArray[np.generic]]:
        return loaded(model).run(feeds)

    return run
