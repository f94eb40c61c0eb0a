"""Models that misbehave: they fail alone, under their own class, and leave nothing."""

from __future__ import annotations

from edgeopt.core.errors import (
    CandidateCrashed,
    CandidateFailed,
    CandidateHung,
    CandidateKilledRunner,
    CandidateStarved,
)
from edgeopt.core.measurement import Measurement
from tests.faults.bench import Bench, Fault, Results


def beside_a_good_one(text: str):
    """Measured in turns with a model that runs, which comes first in the answer."""

    def suffer(bench: Bench) -> Results:
        return bench.measure(bench.good, bench.model(text))

    return suffer


FAULTS = {
    name: Fault(beside_a_good_one(text), expects, says)
    for name, text, expects, says in (
        ("candidate exits while it is loaded", "load exit", CandidateCrashed, "exited with 3"),
        ("candidate exits while it runs", "run exit", CandidateCrashed, "exited with 3"),
        ("candidate segfaults", "run segfault", CandidateCrashed, "SIGSEGV"),
        ("candidate aborts with last words", "run abort", CandidateCrashed, "SIGABRT.*no such tensor"),
        ("candidate spins without end", "run spin", CandidateHung, "too long"),
        ("candidate hangs while it is loaded", "load spin", CandidateHung, "too long"),
        ("candidate stops itself", "run stop", CandidateHung, "too long"),
        ("candidate raises over several lines", "always raise", CandidateFailed, "no such tensor"),
        ("candidate is refused memory", "load starve", CandidateStarved, "out of memory"),
        ("candidate leaves a daemon", "load fork", Measurement, ""),
        ("candidate leaves a daemon and exits", "run fork-and-exit", CandidateCrashed, "exited with 3"),
        ("candidate forks many", "load fork-many", Measurement, ""),
        ("candidate forks many and hangs", "run fork-many-and-spin", CandidateHung, "too long"),
        ("candidate prints garbage", "always print-garbage", Measurement, ""),
        ("candidate writes garbage into every descriptor", "run garbage", CandidateCrashed, "nonsense"),
        ("candidate floods stdout and stderr", "load flood", Measurement, ""),
        ("candidate answers without end", "run endless-answer", CandidateCrashed, "more than anybody asked"),
        ("candidate closes its descriptors", "run close", CandidateCrashed, "closed the pipe"),
        ("candidate kills its runner", "run kill-runner", CandidateKilledRunner, "again when .* alone"),
        ("candidate kills its runner as it loads", "load kill-runner", CandidateKilledRunner, "killed"),
    )
}  # fmt: skip
