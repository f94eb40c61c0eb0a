"""Which tests start first where several processes share them: those that take longest, what they share kept.

pytest-xdist's `worksteal` gives each process an equal number of tests, in the order of collection, and lets
who is done first steal from the end of another's. So each process's part begins with modules that are known
to take long, and ends with tests of moments, of which it does not matter who runs the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

DURATIONS = Path(__file__).with_name("durations.txt")
TOGETHER = ("tests/boards/virtual", "tests/boards/provisioning", "tests/graph/litert")
"""Folders whose modules share what takes long to make: all of one folder in one process."""


def durations(text: str) -> dict[str, float]:
    """Seconds by module, of lines `seconds  module`; what follows a `#` is a comment."""
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return {module: float(seconds) for seconds, module in filter(None, lines)}


def dealt(modules: Sequence[str], known_s: Mapping[str, float], processes: int) -> list[int]:
    """An order of tests for `worksteal`.

    Args:
        modules: Of each test, as collected: a module's tests follow each other.
        known_s: What slow modules take, in seconds. Others take moments.
        processes: Among which as many equal parts of the result are shared.

    Returns:
        The indices of the tests.
    """
    runs = [(module, list(run)) for module, run in groupby(range(len(modules)), key=modules.__getitem__)]
    slow: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    rest: list[int] = []
    for module, tests in runs:
        shared = next((folder for folder in TOGETHER if module.startswith(f"{folder}/")), None)
        if shared is None and module not in known_s:
            rest += tests
            continue
        name = shared or module
        slow.setdefault(name, []).extend(tests)
        seconds[name] = seconds.get(name, 0.0) + known_s.get(module, 0.0)
    parts: list[list[int]] = [[] for _ in range(processes)]
    spent_s = [0.0] * processes
    for name in sorted(slow, key=lambda name: (-seconds[name], name)):
        least = spent_s.index(min(spent_s))
        parts[least] += slow[name]
        spent_s[least] += seconds[name]
    share = -(-len(modules) // processes)
    for part in parts:
        room = max(0, share - len(part))
        part += rest[:room]
        del rest[:room]
    return [test for part in parts for test in part] + rest
