"""What the on-board runner is asked to sample, and what it brings back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from types import ModuleType
from typing import Any

from edgeopt.boards.meters import Reading, Recording, Settings
from edgeopt.core import plugins


def source_of(module: ModuleType) -> str:
    """A meter's `reader` as a program of its own, for the machine where the meter hangs."""
    return f"from __future__ import annotations\n\n{inspect.getsource(module.reader)}"


def order(settings: Settings) -> dict[str, Any]:
    """The `meter` of a request to the runner."""
    module = plugins.load("meters", settings.kind)
    return {"source": source_of(module), "settings": asdict(settings), "interval_s": module.INTERVAL_S}


def recording(answer: Mapping[str, Any]) -> Recording:
    """What the runner sampled."""
    readings = tuple(Reading(float(t_s), str(text)) for t_s, text in answer["readings"])
    return Recording(str(answer["header"]), readings, answer.get("cpu_s"))
