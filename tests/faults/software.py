"""Boards whose Python, runtime or shell is not as it should be."""

from __future__ import annotations

import sys

from edgeopt.core.errors import ConnectError, RuntimeMissing
from edgeopt.core.measurement import Measurement
from tests.faults.bench import STAND_IN, Bench, Fault, Results


def with_python(line: str):
    def suffer(bench: Bench) -> Results:
        bench.write_python(line)
        return bench.measure()

    return suffer


def with_runtime(program: str):
    """A runtime that does this when it is imported."""

    def suffer(bench: Bench) -> Results:
        folder = bench.folder / "broken"
        folder.mkdir()
        (folder / "onnxruntime.py").write_text(program)
        bench.write_python(f'PYTHONPATH={folder} exec {sys.executable} "$@"')
        return bench.measure()

    return suffer


def whole_again(bench: Bench) -> None:
    bench.disconnect()
    bench.write_python(f'PYTHONPATH={STAND_IN} exec {sys.executable} "$@"')


def no_python(bench: Bench) -> Results:
    bench.python.unlink()
    return bench.measure()


def shell_that_talks(bench: Bench) -> Results:
    """What a login script says would come before every answer."""
    bench.write_python(f'echo Welcome to kitchen!; PYTHONPATH={STAND_IN} exec {sys.executable} "$@"')
    return bench.measure()


IMPORT = "cannot import onnxruntime"
FAULTS = {
    "Python missing": Fault(no_python, RuntimeMissing, "not found|No such file", whole_again),
    "Python crashes": Fault(with_python("kill -SEGV $$"), ConnectError, "is gone", whole_again),
    "Python too old": Fault(
        with_python("echo 'SyntaxError: invalid syntax' >&2; exit 1"),
        RuntimeMissing, "SyntaxError", whole_again,
    ),
    "runtime missing": Fault(
        with_runtime("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")\n"),
        RuntimeMissing, IMPORT, whole_again,
    ),
    "runtime crashes when imported": Fault(
        with_runtime("import os\nos.abort()\n"), RuntimeMissing, IMPORT, whole_again
    ),
    "runtime hangs when imported": Fault(
        with_runtime("import time\ntime.sleep(1000)\n"), RuntimeMissing, IMPORT, whole_again
    ),
    "something talks before the runner does": Fault(
        shell_that_talks, ConnectError, "nonsense", whole_again
    ),
    "runtime that is slow to import": Fault(
        with_runtime(
            f"import sys, time\ntime.sleep(2)\nsys.path.insert(0, {str(STAND_IN)!r})\n"
            "del sys.modules['onnxruntime']\nsys.path = [p for p in sys.path if not p.endswith('broken')]\n"
            "import onnxruntime\n"
        ),
        Measurement, "", whole_again,
    ),
}  # fmt: skip
