"""Which faults are caused today: a few, others tomorrow, so that in time each has had its turn."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

SIZE = 6


def seed() -> str:
    """Of today, or `EDGEOPT_FAULT_SEED`, with which a sample is drawn again."""
    return os.environ.get("EDGEOPT_FAULT_SEED") or datetime.now(UTC).strftime("%Y-%m-%d")


def sampled(names: Iterable[str], size: int = SIZE) -> list[Any]:
    """All as parameters, of which those that are not in today's sample are `long`."""
    names = list(names)
    today = set(random.Random(seed()).sample(names, min(size, len(names))))
    return [pytest.param(name, marks=[] if name in today else pytest.mark.long) for name in names]
