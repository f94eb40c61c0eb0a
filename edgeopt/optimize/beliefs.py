"""What the host tells the search beforehand: what changes of structure save, how sensitive regions are."""

from __future__ import annotations

from edgeopt.boards.board import Board
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.progress import Observer
from edgeopt.core.saving import Savings
from edgeopt.core.space import SearchSpace
from edgeopt.graph import sensitivity
from edgeopt.graph.builder import saturates, wants_unsigned
from edgeopt.graph.calibration import Ranges
from edgeopt.graph.structuring import Structures
from edgeopt.optimize.host import Host, host_options
from edgeopt.optimize.inputs import Inputs
from edgeopt.options import OptimizeOptions
from edgeopt.runtimes.probe import Probe


def savings(structures: Structures | None, space: SearchSpace, observer: Observer) -> Savings:
    """What each change of structure saves; nothing where none is searched."""
    if structures is None:
        return {}
    try:
        return structures.savings(space)
    except CandidateFailed as error:
        observer.announce(f"what changes of structure save is learned from trials alone: {error.message}")
        return {}


def noise(
    options: OptimizeOptions,
    inputs: Inputs,
    space: SearchSpace,
    ranges: Ranges | None,
    board: Board,
    probe: Probe,
    observer: Observer,
) -> sensitivity.Noise:
    """What each scheme does to each region; nothing where nothing lossy is searched."""
    if ranges is None:
        return {}
    host = Host(inputs.batch, probe, host_options(inputs.model))
    try:
        return sensitivity.noise(
            inputs.model, space, ranges, inputs.calibration, folder=options.output / "cache",
            unsigned=wants_unsigned(board.facts.machine),
            seven_bits=saturates(board.facts.machine, board.facts.features), session=host.load,
        )  # fmt: skip
    except (ModelError, CandidateFailed) as error:
        observer.announce(f"how sensitive regions are is learned from trials alone: {error.message}")
        return {}
