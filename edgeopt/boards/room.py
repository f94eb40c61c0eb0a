"""Whether a model can be in a board's memory at all: asked before it is uploaded."""

from __future__ import annotations

from edgeopt.boards.board import BoardFacts
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import CandidateFailed


def refusal(artifact: Artifact, facts: BoardFacts) -> CandidateFailed | None:
    """Why an artifact cannot run there: its weights alone take more than all memory. None: it may, or nobody
    knows how much there is."""
    if facts.ram_bytes is None or artifact.size_bytes <= facts.ram_bytes:
        return None
    needed, there = artifact.size_bytes / 1e6, facts.ram_bytes / 1e6
    return CandidateFailed(
        f"its file is {needed:.0f} MB, and the board has {there:.0f} MB of memory",
        hint="quantize it, or use a board with more memory (boards up DEVICE --ram 4G emulates a larger one)",
    )
