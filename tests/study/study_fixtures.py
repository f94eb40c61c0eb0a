"""A tiny space and made-up results for the study's tests."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.core.trial import Accuracy, Trial
from edgeopt.study.store import StudyStore

SPACE = SearchSpace(
    "m" * 64,
    tuple(DecisionPoint(f"precision@/r{i}", ("float32", "int8", "float16"), "float32") for i in range(6)),
)
IDENTITY = {"model": "m" * 64, "data": "d" * 64, "board": "b" * 64}


def cost_ms(candidate: Candidate) -> float:
    chosen = [option for _, option in candidate.decisions]
    return 10.0 - chosen.count("int8") - 0.5 * chosen.count("float16")


def result(number: int, candidate: Candidate, **changes: object) -> Trial:
    ms = cost_ms(candidate)
    fields: dict[str, object] = {
        "state": "COMPLETE",
        "artifact": Artifact(candidate.key, Path("/build/a.onnx"), candidate.key, 1000 + number),
        "measurement": Measurement(
            latency=Quantity(ms, "ms", ms * 0.99, ms * 1.01, "measured", "clock"),
            latencies_ms=(ms, ms + 0.5),
            process_p50_ms=(ms,),
            peak_rss_bytes=1_000_000,
        ),
        "accuracy": Accuracy(0.9, 0.001, None, 100, "labels", "search"),
    }
    return Trial(number, candidate, **(fields | changes))  # type: ignore[arg-type]


def random_sampler(history: object) -> object:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=1)


def open_store(folder: Path, **changes: object) -> StudyStore:
    settings = {"space": SPACE, "identity": IDENTITY, "make_sampler": random_sampler}
    return StudyStore.open(folder, **(settings | changes))  # type: ignore[arg-type]


def measure_for_ever(folder: Path, log: Path) -> None:
    """What a killed process runs: ask, "measure" (one line in a log), tell."""
    with open_store(folder) as store:
        store.ask_candidate(SPACE.default(), "baseline", "original")
        print("open", flush=True)
        while True:
            number, candidate = store.ask()
            if store.get(number) is None:
                with log.open("a") as stream:
                    stream.write(json.dumps([number, candidate.key]) + "\n")
                    stream.flush()
                    os.fsync(stream.fileno())
                store.tell(result(number, candidate), measurement_identity=candidate.key)


if __name__ == "__main__":
    measure_for_ever(Path(sys.argv[1]), Path(sys.argv[2]))
