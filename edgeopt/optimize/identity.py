"""What a study is of: with any other, its trials would not be comparable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edgeopt.boards.board import Board
from edgeopt.core.digest import file_digest
from edgeopt.optimize.inputs import Inputs
from edgeopt.optimize.interface import described
from edgeopt.options import OptimizeOptions
from edgeopt.search.initial import InitialPolicy


def of_study(
    options: OptimizeOptions, inputs: Inputs, board: Board, policy: InitialPolicy | None
) -> dict[str, str]:
    """By what each is called in an error: how it reads there. What is at its default may be left out."""
    goal: dict[str, Any] = {
        "objective": options.objective.name,
        "conditions": str(options.objective.conditions),
        "max-drop": str(options.objective.max_drop),
        "limits": str(options.objective.limits),
    }
    if options.objective.allow_worse:
        goal["allow-worse"] = ", ".join(options.objective.allow_worse)
    return {
        "model": inputs.model.digest,
        "shapes": ", ".join(map(str, inputs.model.inputs)),
        "data": inputs.digest,
        "metric": _metric_identity(inputs.metric_name),
        "device": board.device,
        "board": board.name,
        "board state": board.facts.epoch,
        "effort": options.effort,
        "threads": str(options.threads),
        "seed": str(options.seed),
        "sampler": options.sampler,
        **({"structure": "searched"} if options.structure else {}),
        **({"runtime": options.runtime} if options.runtime != "onnxruntime" else {}),
        **({"policy": policy.digest} if policy else {}),
        **described(options.allow_interface, inputs.levels),
        **goal,
    }


def _metric_identity(name: str | None) -> str:
    """The metric's name, and the content of the file where it is the user's own function."""
    module = sys.modules.get((name or "").partition(":")[0])
    source = getattr(module, "__file__", None)
    return f"{name} {file_digest(Path(source))}" if source else name or "none"
