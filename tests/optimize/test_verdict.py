"""Never worse, as the design defines it: pinned on made-up final stages."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Provenance, Quantity
from edgeopt.core.trial import Kind, Trial
from edgeopt.optimize.verdict import Contender, decide, ratio, regressions

LATENCY = Objective("latency")


def contender(
    name: str,
    rounds_ms: tuple[float, ...],
    kind: Kind = "candidate",
    size_bytes: int = 1000,
    rss_bytes: int = 50_000,
    provenance: Provenance = "measured",
) -> Contender:
    p50 = sorted(rounds_ms)[len(rounds_ms) // 2]
    measurement = Measurement(
        Quantity(p50, "ms", p50, p50, provenance, "clock"),
        process_p50_ms=rounds_ms if provenance == "measured" else (),
        peak_rss_bytes=rss_bytes,
        protocol="final",
    )
    artifact = Artifact(name, Path(f"/{name}.onnx"), name, size_bytes)
    return Contender(Trial(0, Candidate.of("m", {}), "COMPLETE", kind, name), artifact, measurement)


def rounds(base_ms: float, noise: float = 0.002, seed: int = 0) -> tuple[float, ...]:
    generator = random.Random(seed)
    return tuple(base_ms * generator.gauss(1, noise) for _ in range(5))


ORIGINAL = contender("original", rounds(2.0, seed=1), "baseline")
REFERENCE = contender("int8", rounds(1.5, seed=2), "reference")


def test_a_clearly_faster_finalist_wins() -> None:
    verdict, winner = decide(ORIGINAL, [REFERENCE], [contender("c", rounds(1.2, seed=3))], LATENCY)
    assert (verdict, winner.trial.name) == ("improved", "c")


def test_a_finalist_within_the_noise_does_not_replace_the_reference() -> None:
    noisy = contender("c", rounds(1.49, noise=0.05, seed=3))
    verdict, winner = decide(ORIGINAL, [REFERENCE], [noisy], LATENCY)
    assert (verdict, winner.trial.name) == ("reference", "int8")


def test_a_reference_within_the_noise_does_not_replace_the_original() -> None:
    noisy = contender("int8", rounds(1.98, noise=0.05, seed=4), "reference")
    verdict, winner = decide(ORIGINAL, [noisy], [], LATENCY)
    assert (verdict, winner) == ("original", ORIGINAL)


def test_a_rejected_finalist_cannot_win_however_fast() -> None:
    fast = replace(contender("c", rounds(0.1)), rejected="loses accuracy on confirm")
    assert decide(ORIGINAL, [REFERENCE], [fast], LATENCY)[0] == "reference"


def test_the_best_of_several_references_is_the_one_to_beat() -> None:
    slower = contender("float16", rounds(1.55, seed=9), "reference")
    between = contender("c", rounds(1.52, seed=3))
    verdict, winner = decide(ORIGINAL, [slower, REFERENCE], [between], LATENCY)
    assert (verdict, winner.trial.name) == ("reference", "int8")


def test_a_rejected_reference_gives_way_to_the_original() -> None:
    rejected = replace(REFERENCE, rejected="memory is 80% worse")
    assert decide(ORIGINAL, [rejected], [], LATENCY)[0] == "original"


def test_an_original_that_breaks_a_limit_is_replaced_by_what_keeps_it() -> None:
    over = replace(ORIGINAL, rejected="latency 2 ms is over the limit of 1.9 ms")
    verdict, winner = decide(over, [], [contender("c", rounds(1.99, noise=0.05))], LATENCY)
    assert (verdict, winner.trial.name) == ("improved", "c")


def test_drift_that_hits_all_alike_cancels_out() -> None:
    """Every round is a third slower than the one before: unpaired, nothing could be told apart."""
    drift = (1.0, 1.33, 1.77, 2.35, 3.13)
    slow = contender("original", tuple(2.0 * d for d in drift), "baseline")
    fast = contender("c", tuple(1.9 * d for d in drift))
    assert decide(slow, [], [fast], LATENCY)[0] == "improved"


def test_more_comparisons_widen_the_interval() -> None:
    one, three = (ratio(REFERENCE, ORIGINAL, LATENCY, comparisons) for comparisons in (1, 3))
    assert three.low < one.low < one.value < one.high < three.high


def test_noise_alone_rarely_passes_for_an_improvement() -> None:
    """Three finalists equal to the reference: the corrected interval lets one through in about 2.5 %."""
    wrong = 0
    for seed in range(400):
        reference = contender("r", rounds(1.0, 0.02, seed=1000 + seed), "reference")
        finalists = [contender(str(i), rounds(1.0, 0.02, seed=7919 * seed + i)) for i in range(3)]
        original = contender("o", rounds(2.0, 0.02, seed=50_000 + seed), "baseline")
        wrong += decide(original, [reference], finalists, LATENCY)[0] == "improved"
    assert wrong <= 400 * 0.05


def test_predictions_closer_than_their_error_are_a_tie() -> None:
    original = contender("original", (2.0,), "baseline", provenance="predicted")
    close = contender("c", (1.9,), provenance="predicted")
    far = contender("c", (1.5,), provenance="predicted")
    assert decide(original, [], [close], LATENCY, pairwise_error=0.1)[0] == "original"
    assert decide(original, [], [far], LATENCY, pairwise_error=0.1)[0] == "improved"


def test_an_emulated_recipe_that_beats_the_original_but_not_its_rivals_is_the_simplest() -> None:
    original = replace_decisions(contender("original", (2.0,), "baseline", provenance="emulated"), {})
    many = {"a": "int8", "b": "int8", "c": "on"}
    rivals = [
        replace_decisions(contender("fast", (1.0,), "reference", provenance="emulated"), many),
        replace_decisions(contender("plain", (1.08,), "reference", provenance="emulated"), {"a": "int8"}),
        replace_decisions(contender("slow", (1.2,), "reference", provenance="emulated"), {}),
    ]
    assert decide(original, rivals, [], LATENCY, pairwise_error=0.1)[1].trial.name == "plain"
    assert decide(original, rivals, [], LATENCY, pairwise_error=0.01)[1].trial.name == "fast"
    assert decide(original, rivals, [], LATENCY)[1].trial.name == "fast"


def test_the_size_of_a_file_is_no_model_s_figure() -> None:
    original = contender("original", (2.0,), "baseline", provenance="emulated")
    smaller = contender("c", (2.0,), size_bytes=980, provenance="emulated")
    assert decide(original, [], [smaller], Objective("size"), pairwise_error=0.1)[0] == "improved"


def test_memory_within_the_noise_of_its_processes_is_no_improvement() -> None:
    def used(name: str, *processes_bytes: int) -> Contender:
        one = contender(name, rounds(2.0), rss_bytes=max(processes_bytes))
        return replace(one, measurement=replace(one.measurement, process_peak_rss_bytes=processes_bytes))

    original = used("original", 50_000, 50_100, 49_900, 50_050, 49_950)
    noisy = used("c", 49_990, 50_010, 50_000, 49_980, 49_995)
    assert max(noisy.measurement.process_peak_rss_bytes) < max(original.measurement.process_peak_rss_bytes)
    assert decide(original, [], [noisy], Objective("memory"))[0] == "original"
    smaller = used("c", 40_000, 40_100, 40_050, 40_020, 39_990)
    assert decide(original, [], [smaller], Objective("memory"))[0] == "improved"


def test_what_was_measured_without_repetitions_beats_nobody() -> None:
    """A 95th percentile of processes with too few samples for one each: nothing is known of its noise."""
    slow, fast = (
        replace(one, measurement=replace(one.measurement, latencies_ms=(ms,) * 200))
        for one, ms in ((ORIGINAL, 2.0), (contender("c", rounds(1.9)), 1.9))
    )
    assert decide(slow, [], [fast], Objective("p95"))[0] == "original"
    known = replace(fast, measurement=replace(fast.measurement, process_p95_ms=(1.9, 1.91, 1.9, 1.89, 1.9)))
    base = replace(slow, measurement=replace(slow.measurement, process_p95_ms=(2.0, 2.01, 2.0, 1.99, 2.0)))
    assert decide(base, [], [known], Objective("p95"))[0] == "improved"


def replace_decisions(one: Contender, decisions: dict[str, str]) -> Contender:
    return replace(one, trial=replace(one.trial, candidate=Candidate.of("m", decisions)))


@pytest.mark.parametrize(
    ("grown", "worse"), [(1.04, {}), (1.2, {"size": "size is 20% worse than the original's"})]
)
def test_what_got_worse_is_said(grown: float, worse: dict[str, str]) -> None:
    bigger = contender("c", rounds(1.0), size_bytes=round(1000 * grown))
    assert regressions(bigger, ORIGINAL, LATENCY) == worse


def test_the_objective_itself_is_no_regression() -> None:
    bigger = contender("c", rounds(1.0), size_bytes=2000)
    assert regressions(bigger, ORIGINAL, Objective("size")) == {}


def test_a_p95_that_is_worse_by_noise_only_is_no_regression() -> None:
    calm = replace(ORIGINAL.measurement, latencies_ms=(2.0,) * 700, process_p95_ms=(2.0, 3.0, 2.0, 3.0, 2.0))
    noisy = replace(calm, latencies_ms=(2.2,) * 700, process_p95_ms=(3.0, 2.0, 3.1, 2.0, 2.2))
    worse = replace(noisy, process_p95_ms=(2.2, 3.3, 2.2, 3.3, 2.2))
    base = replace(ORIGINAL, measurement=calm)
    assert regressions(replace(ORIGINAL, measurement=noisy), base, LATENCY) == {}
    assert regressions(replace(ORIGINAL, measurement=worse), base, LATENCY) == {
        "p95": "p95 is 10% worse than the original's"
    }
