"""A release to a fleet: wave after wave, several devices at once, until too many fail or all have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

from edgeopt.field import seen
from edgeopt.field.journal import Journal
from edgeopt.field.many import Stop, each
from edgeopt.field.outcome import Outcome
from edgeopt.field.watching import FleetObserver
from edgeopt.field.waves import Wave, verdict

Verdict = Literal["complete", "incomplete", "stopped", "interrupted"]
"""`complete`: every device has the release. `incomplete`: all waves are over, and some do not have it."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Report:
    """How a rollout ended.

    Attributes:
        reason: Why it was stopped.
        outcomes: Of the devices that were begun, by name, now or before it was resumed.
    """

    verdict: Verdict
    reason: str | None
    waves: Sequence[Wave]
    outcomes: dict[str, Outcome]

    @property
    def exit_code(self) -> int:
        """0: all have it. Otherwise that of the first device that failed, else 4: some were not reached."""
        failed = [one for one in self.outcomes.values() if one.state == "failed"]
        if self.verdict in ("complete", "interrupted"):
            return INTERRUPTED if self.verdict == "interrupted" else 0
        return (failed[0].exit_code if failed else 0) or 4

    def devices(self) -> list[dict[str, Any]]:
        """Every device of the fleet, in the order of the waves; `state` is `pending` where none was begun."""
        rows = []
        for wave in self.waves:
            for name in wave.names:
                done = self.outcomes.get(name)
                known = done.document() if done else {"name": name, "state": "pending", "reason": None}
                heard = None if done and done.has_answered else seen.last(name)
                rows.append({**known, "wave": wave.number, "last_seen": heard.document() if heard else None})
        return rows


def roll_out(
    waves: Sequence[Wave],
    deliver: Callable[[str], Outcome],
    journal: Journal,
    rate: float,
    at_once: int,
    observer: FleetObserver,
    stop: Stop,
) -> Report:
    """Bring a release to all waves, one after the other; what the journal knows is not done again.

    Devices that were not reached before are tried again. A wave is judged as soon as its answer is certain:
    what has begun then ends, nothing more begins.

    Args:
        deliver: Brings it to the device of that name; called in threads, and raises for bugs and for the host
            only.
        rate: Share of a wave that may fail, see `waves.may_fail`.
        at_once: Devices at the same time.
        stop: Set, to have whoever waits wait no longer.

    Raises:
        EdgeoptError: This machine cannot go on: its disk is full, the package cannot be read.
    """
    for wave in waves:
        why = verdict(wave, _settled(wave, journal), rate)
        todo = [name for name in wave.names if name not in {one.name for one in _settled(wave, journal)}]
        if why is None and todo:
            observer.wave(wave.number, len(waves), todo)
            why = _through(wave, todo, deliver, journal, rate, at_once, observer, stop)
        if why is not None:
            return Report("stopped", why, waves, dict(journal.outcomes))
    ended = [journal.outcomes[name] for wave in waves for name in wave.names]
    is_complete = all(one.state in ("updated", "current") for one in ended)
    return Report("complete" if is_complete else "incomplete", None, waves, dict(journal.outcomes))


def _settled(wave: Wave, journal: Journal) -> list[Outcome]:
    known = (journal.outcomes.get(name) for name in wave.names)
    return [one for one in known if one is not None and one.is_settled]


def _through(
    wave: Wave,
    todo: Sequence[str],
    deliver: Callable[[str], Outcome],
    journal: Journal,
    rate: float,
    at_once: int,
    observer: FleetObserver,
    stop: Stop,
) -> str | None:
    """One wave; why nothing may follow it."""
    enough, reasons = Event(), list[str]()
    known = {one.name: one for one in _settled(wave, journal)}

    def take(outcome: Outcome) -> None:
        journal.note(outcome)
        observer.outcome(outcome)
        known[outcome.name] = outcome
        if why := verdict(wave, known.values(), rate):
            reasons.append(why)
            enough.set()

    each(deliver, todo, at_once, stop, take, enough)
    return reasons[0] if reasons else None
