"""What the devices of a fleet serve, and going back to what they served before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeopt.boards.patience import patiently
from edgeopt.core.errors import ConfigError, ConnectError, EdgeoptError
from edgeopt.field import seen
from edgeopt.field.device import INSTALL_S, Device, Target
from edgeopt.field.many import Stop, each
from edgeopt.field.outcome import Outcome
from edgeopt.field.seen import Seen
from edgeopt.field.watching import FleetObserver, Named


@dataclass(frozen=True, slots=True)
class Found:
    """What a device said of itself.

    Attributes:
        status: Its answer; None: it was not reached, or failed.
        error: Why there is none.
        last_seen: When it was last heard of before, where it was not reached.
    """

    name: str
    status: dict[str, Any] | None
    error: EdgeoptError | None = None
    last_seen: Seen | None = None

    def document(self) -> dict[str, Any]:
        """JSON-able: the device's own answer, with `name`, `reached`, `reason` and `last_seen`."""
        return {
            **(self.status or {}),
            "name": self.name,
            "reached": not isinstance(self.error, ConnectError),
            "reason": self.error.message.removeprefix(f"{self.name}: ") if self.error else None,
            "last_seen": self.last_seen.document() if self.last_seen else None,
        }


def statuses(
    targets: Sequence[Target], wait_s: float, at_once: int, observer: FleetObserver, stop: Stop
) -> list[Found]:
    """Ask every device; in the order of `targets`.

    Raises:
        EdgeoptError: What was heard cannot be written down.
    """

    def ask(target: Target) -> Found:
        observer.phase(target.name, "asking")
        try:
            answer = _patiently(target, wait_s, observer, stop, lambda device: device.ask("status"))
        except EdgeoptError as error:
            heard = seen.last(target.name) if isinstance(error, ConnectError) else None
            return Found(target.name, None, error, heard)
        finally:
            observer.done(target.name)
            observer.advance()
        seen.note(target.name, answer.get("counter"), str(answer.get("state")))
        return Found(target.name, answer)

    observer.stage("asking", len(targets))
    found: dict[str, Found] = {}
    each(ask, targets, at_once, stop, lambda one: found.update({one.name: one}))
    return [found[target.name] for target in targets if target.name in found]


def leaving(found: Sequence[Found], asked: int | None) -> int:
    """The counter that a rollback leaves, so that repeating it after it was killed leaves nothing twice.

    Args:
        asked: What the user says it is; None: what all devices that answer serve.

    Raises:
        ConfigError: They serve different ones, or nothing.
        ConnectError: None answers.
    """
    if asked is not None:
        return asked
    if not any(one.status for one in found):
        first = next((one.error for one in found if one.error), None)
        raise first or ConnectError("no device answers")
    serving = {one.name: one.status.get("counter") for one in found if one.status}
    counters = {counter for counter in serving.values() if counter is not None}
    if not counters:
        raise ConfigError("nothing is installed there that could be left", hint="edgeopt deploy installs")
    if len(counters) > 1:
        few = ", ".join(f"{name}: {counter}" for name, counter in list(serving.items())[:6])
        raise ConfigError(
            f"these devices do not serve the same release ({few})",
            hint=f"say which one is to be left: --from {max(counters)}; the others stay as they are",
        )
    return int(counters.pop())


def roll_back(
    targets: Sequence[Target],
    leave: int,
    to: int | None,
    wait_s: float,
    at_once: int,
    observer: FleetObserver,
    stop: Stop,
) -> list[Outcome]:
    """Have every device that serves release `leave` go back, to `to` or to what it had before.

    Raises:
        EdgeoptError: What was heard cannot be written down.
    """
    words = ["rollback", "--from", str(leave), *(["--to", str(to)] if to is not None else [])]

    def back(target: Target) -> Outcome:
        begun = time.monotonic()
        observer.phase(target.name, "rolling back")
        try:
            answer = _patiently(
                target, wait_s, observer, stop, lambda device: device.ask(*words, timeout_s=INSTALL_S)
            )
        except EdgeoptError as error:
            return Outcome.of_error(target.name, error, seconds=time.monotonic() - begun)
        counter = answer.get("counter")
        seen.note(target.name, counter, str(answer.get("state")))
        return Outcome(
            target.name, "rolled-back" if answer["changed"] else "unchanged", counter=counter,
            previous=answer.get("previous"), seconds=time.monotonic() - begun,
        )  # fmt: skip

    observer.stage("rolling back", len(targets))
    ended: dict[str, Outcome] = {}

    def take(outcome: Outcome) -> None:
        ended[outcome.name] = outcome
        observer.outcome(outcome)
        observer.advance()

    each(back, targets, at_once, stop, take)
    return [ended[target.name] for target in targets if target.name in ended]


def _patiently(
    target: Target,
    wait_s: float,
    observer: FleetObserver,
    stop: Stop,
    ask: Callable[[Device], dict[str, Any]],
) -> dict[str, Any]:
    def attempt() -> dict[str, Any]:
        with Device(target) as device, stop.cutting(device):
            return ask(device)

    return patiently(attempt, target.name, wait_s, Named(target.name, observer), stop)
