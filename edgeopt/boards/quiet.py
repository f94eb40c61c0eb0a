"""Which part of a measurement had its core to itself.

The cores of a virtual machine may be hardware threads, whose other half belongs to strangers: a model then
takes up to one and a half times as long, for tenths of a second or for minutes, and neither the load nor the
clock of the machine shows it. What shows it is an interpreted loop: the runner times it between segments of
inferences, in cycles of the core, so that a throttled core looks no different.

Segments are chosen by these probes alone, never by a latency: what is left is no faster by selection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from edgeopt.boards.intervals import BLOCKS
from edgeopt.core.measurement import Protocol

CONTENDED = 1.2
"""A loop that takes so many times its least known cycles shares its core.

Source: two virtual CPUs of an AMD EPYC, tests/boards/data/contention.json: 1.0 to 1.12 times alone and 1.4 to
1.8 times shared, a hundredth of all in between.
"""

LEAST_PROCESSES = 3
"""Fewer do not tell how processes differ; see `intervals.median_interval`."""

TELLING = 0.005
"""A smaller share of the time is not worth a word."""


@dataclass(frozen=True, slots=True)
class Use:
    """What of a model's processes counts.

    Attributes:
        processes: As the runner tells them, but with the latencies that count and how many `slices` hold of
            them; `paired` says of each slice whether the other models have latencies of the same turn.
        contended: Share of the measured time in which others had the core, too; None where nothing tells.
        note: What to know of that; None where they hardly ever had.
        is_quiet: All that counts lies between two quiet probes.
    """

    processes: Sequence[Mapping[str, Any]]
    contended: float | None
    note: str | None
    is_quiet: bool


def used(answer: Mapping[str, Any], protocol: Protocol) -> list[Use]:
    """What counts of each model of an answer to `measure`, in order.

    Where every model that was measured to the end has enough of them, the segments between two quiet probes
    count, of the same rounds of processes for all. Else everything counts, for all. Of models that were given
    up, on which nobody relies, everything counts in any case.
    """
    models, least = answer["models"], answer.get("loop_cycles") or {}
    turns = [[_turns(process, least) for process in model["processes"]] for model in models]
    racing = [i for i, model in enumerate(models) if not model["error"] and not model["stopped_early"]]
    rounds = _rounds([turns[i] for i in racing], protocol)
    return [
        _use(model["processes"], turns[i], rounds, [turns[other] for other in racing])
        if rounds and i in racing
        else Use(
            model["processes"],
            share := _contended(turns[i]),
            _note(share, ", and all of it counts"),
            is_quiet=share == 0.0,
        )
        for i, model in enumerate(models)
    ]


@dataclass(frozen=True, slots=True)
class _Segment:
    """Inferences between two probes; `is_quiet` is None where those tell nothing."""

    latencies_ms: Sequence[float]
    is_quiet: bool | None

    @property
    def counts(self) -> bool:
        return self.is_quiet is not False


_Process = Sequence[Sequence[_Segment]]
"""The segments of each turn that a process took."""


def _turns(process: Mapping[str, Any], least: Mapping[str, float]) -> _Process:
    counts = process.get("segments") or [[count] for count in process["slices"]]
    probes = process.get("probes") or [[]] * len(counts)
    latencies = iter(process["latencies_ms"])
    return [
        [
            _Segment(list(islice(latencies, count)), _is_quiet(seen[at : at + 2], least))
            for at, count in enumerate(turn)
        ]
        for turn, seen in zip(counts, probes, strict=True)
    ]


def _is_quiet(probes: Sequence[tuple[str, float]], least: Mapping[str, float]) -> bool | None:
    """Whether the loop was fast before and after; every kind of core has a least of its own."""
    if not probes or any(kind not in least for kind, _ in probes):
        return None
    return all(cycles <= CONTENDED * least[kind] for kind, cycles in probes)


def _rounds(models: Sequence[Sequence[_Process]], protocol: Protocol) -> list[int]:
    """Of which rounds the quiet segments count; of none where a model has not enough, or nobody disturbed."""
    if all(segment.counts for model in models for process in model for segment in _all(process)):
        return []
    runs = [[_runs(process) for process in model] for model in models]
    count = min(map(len, runs))
    least = min(BLOCKS, protocol.min_runs)
    kept = [r for r in range(count) if all(of_model[r] >= least for of_model in runs)]
    enough = len(kept) >= min(LEAST_PROCESSES, count) and all(
        sum(of_model[r] for r in kept) >= protocol.min_runs for of_model in runs
    )
    return kept if enough else []


def _use(
    processes: Sequence[Mapping[str, Any]],
    turns: Sequence[_Process],
    rounds: Sequence[int],
    racing: Sequence[Sequence[_Process]],
) -> Use:
    share = _contended(turns)
    return Use(
        [_reduced(processes[r], turns[r], [model[r] for model in racing]) for r in rounds],
        share,
        _note(share, ", and only the rest counts"),
        is_quiet=True,
    )


def _reduced(process: Mapping[str, Any], turns: _Process, round_: Sequence[_Process]) -> dict[str, Any]:
    """A process with its quiet segments only; `round_`: what ran in turns with it."""
    slices = [[ms for segment in turn if segment.counts for ms in segment.latencies_ms] for turn in turns]
    return {
        **process,
        "latencies_ms": [ms for one in slices for ms in one],
        "slices": [len(one) for one in slices],
        "paired": [
            all(any(segment.counts for segment in other[at]) for other in round_ if at < len(other))
            for at in range(len(turns))
        ],
    }


def _runs(process: _Process) -> int:
    return sum(len(segment.latencies_ms) for segment in _all(process) if segment.counts)


def _contended(processes: Sequence[_Process]) -> float | None:
    told = [segment for process in processes for segment in _all(process) if segment.is_quiet is not None]
    total_ms = _sum_ms(told)
    return _sum_ms(segment for segment in told if not segment.is_quiet) / total_ms if total_ms else None


def _sum_ms(segments: Iterable[_Segment]) -> float:
    return sum(sum(segment.latencies_ms) for segment in segments)


def _all(process: _Process) -> Iterator[_Segment]:
    return (segment for turn in process for segment in turn)


def _note(share: float | None, what_counts: str) -> str | None:
    if share is None or share < TELLING:
        return None
    return f"its core was shared with others for {share:.0%} of the time{what_counts}"
