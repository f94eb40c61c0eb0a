"""A release to one device: say what it is, send what the device lacks, have it installed, see how it ends.

The device decides: it verifies the metadata against its own root, picks the variant, and names what it lacks
and from which byte on, before anything large is sent. So a transfer that broke goes on where it stopped, and
what is there is not sent again, however that came about.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edgeopt.boards.patience import patiently
from edgeopt.core.errors import BusyError, CommandError, ConnectError, EdgeoptError
from edgeopt.field import seen
from edgeopt.field.answers import Missing, Serving, Staged
from edgeopt.field.device import INSTALL_S, Device, Target, one_line
from edgeopt.field.many import Stop
from edgeopt.field.outcome import Outcome, State
from edgeopt.field.parcel import Parcel
from edgeopt.field.watching import FleetObserver, Named

POLL_S = 2.0
SAID_EVERY_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for one device.

    Attributes:
        wait_s: While it is unreachable, from the first failure since it moved on.
        health_s: Until a version that is on trial is good.
    """

    wait_s: float = 60.0
    health_s: float = 900.0


class Delivery:
    """One release on its way to one device; lost connections are taken up again."""

    def __init__(
        self,
        target: Target,
        parcel: Parcel,
        root: bytes | None,
        patience: Patience,
        observer: FleetObserver,
        stop: Stop,
    ) -> None:
        """`root`: the trust to install on a device that has none."""
        self._target, self._name, self._parcel, self._root = target, target.name, parcel, root
        self._patience, self._observer, self._stop = patience, observer, stop
        self._sent_bytes = 0
        self._lacking_bytes: int | None = None
        self._has_moved = self._is_installing = False
        self._previous: int | None = None

    def run(self) -> Outcome:
        """Deliver; whatever the device does, one outcome."""
        begun = time.monotonic()
        try:
            outcome = self._patiently()
        except EdgeoptError as error:
            outcome = Outcome.of_error(self._name, error)
        outcome = replace(outcome, sent_bytes=self._sent_bytes, seconds=time.monotonic() - begun)
        if outcome.has_answered:
            seen.note(self._name, outcome.counter, outcome.state)
        return outcome

    def _patiently(self) -> Outcome:
        """Try again while it is unreachable; who moved on has all patience anew."""
        watching = Named(self._name, self._observer)
        while True:
            self._has_moved = False
            try:
                return patiently(
                    self._attempt, self._name, self._patience.wait_s, watching, self._stop,
                    self._target.power_cycle,
                )  # fmt: skip
            except ConnectError:
                if not self._has_moved or self._stop.is_set():
                    raise

    def _attempt(self) -> Outcome:
        """Once through everything, over one connection.

        Raises:
            ConnectError: It is gone; the next attempt goes on.
            EdgeoptError: It refuses the release, or cannot install it.
        """
        self._tell("connecting")
        with Device(self._target) as device, self._stop.cutting(device):
            self._tell("checking")
            if self._root is not None:
                device.ask("trust", stdin=self._root)
            staged = self._staged(device)
            if staged.installed:
                state: State = "updated" if self._is_installing else "current"
                return Outcome(self._name, state, counter=staged.counter, variant=staged.variant)
            self._require_untried(device)
            self._send(device, staged)
            self._tell("installing")
            self._is_installing = True
            answer = device.ask("install", "--from-staging", staged.staging, timeout_s=INSTALL_S)
            served = Serving.of(answer, self._name)
            self._previous = served.previous
            if served.state == "trying":
                served = self._proven(device)
            return Outcome(
                self._name, "updated",
                counter=served.counter, variant=served.variant, previous=self._previous,
            )  # fmt: skip

    def _staged(self, device: Device) -> Staged:
        """What the device lacks of the release.

        Raises:
            EdgeoptError: It refuses the release, and says why.
        """
        opening = json.dumps(self._parcel.opening()).encode()
        try:
            answer = device.ask("stage", stdin=opening)
        except BusyError:  # an install goes on there without us: our connection broke, or we were killed
            self._wait_while_busy(device)
            answer = device.ask("stage", stdin=opening)
        return Staged.of(answer, self._name, self._parcel)

    def _send(self, device: Device, staged: Staged) -> None:
        """All that it lacks; what arrives damaged once more.

        Raises:
            CommandError: It arrives damaged twice, or the device cannot store it.
        """
        missing = staged.missing
        lacking = sum(one.rest for one in missing)
        self._has_moved |= self._lacking_bytes is not None and lacking < self._lacking_bytes
        self._lacking_bytes = lacking
        for _ in range(2):
            if not missing:
                return
            answer = device.feed("receive", staged.staging, chunks=self._stream(missing))
            damaged = set(answer.get("damaged") or ())
            missing = tuple(one.anew() for one in missing if one.sha256 in damaged)
        if missing:
            raise CommandError(
                f"{self._name}: {missing[0].path} arrived damaged twice", hint="check its storage"
            )

    def _stream(self, missing: Sequence[Missing]) -> Iterator[bytes]:
        """Each file's header and its bytes from where the device has it, and the end."""
        total = sum(one.rest for one in missing)
        sent = said = 0
        self._tell("sending")
        self._observer.sending(self._name, 0, total)
        for one in missing:
            header = {"sha256": one.sha256, "length": one.length, "offset": one.offset}
            yield json.dumps(header).encode() + b"\n"
            for chunk in self._parcel.chunks(one.sha256, one.offset):
                yield chunk
                sent += len(chunk)
                self._sent_bytes += len(chunk)
                if sent - said >= SAID_EVERY_BYTES or sent == total:
                    said = sent
                    self._observer.sending(self._name, sent, total)
        yield b"{}\n"

    def _serving(self, device: Device) -> Serving:
        return Serving.of(device.ask("status"), self._name)

    def _require_untried(self, device: Device) -> None:
        """After a connection that broke while it installed: how that ended, if it did not end well.

        Raises:
            CommandError: It did not.
        """
        if self._is_installing:
            last = self._serving(device).last
            if last.get("counter") == self._parcel.counter and last.get("outcome") not in (None, "good"):
                raise _not_installed(self._name, last.get("reason"))

    def _wait_while_busy(self, device: Device) -> None:
        """Wait for the end of the install that goes on there.

        Raises:
            BusyError: It has not ended in all the time that one may take.
        """
        self._tell("installing")
        end = time.monotonic() + INSTALL_S
        while self._serving(device).busy:
            if time.monotonic() > end or self._stop.wait(POLL_S):
                raise BusyError(f"{self._name} is still installing", hint="edgeopt status shows it")

    def _proven(self, device: Device) -> Serving:
        """The device's state once the trial of the release is over.

        Raises:
            CommandError: It was rolled back, or its trial has not ended in time.
        """
        self._tell("watching")
        end = time.monotonic() + self._patience.health_s
        while True:
            found = self._serving(device)
            is_ours = found.counter == self._parcel.counter
            if is_ours and found.state == "good":
                return found
            if not is_ours:
                raise _not_installed(self._name, found.last.get("reason"))
            if time.monotonic() > end:
                raise CommandError(
                    f"{self._name}: on trial for {self._patience.health_s:.0f} s, and not found good",
                    hint="edgeopt status shows it; --health-wait waits longer",
                )
            if self._stop.wait(POLL_S):
                raise ConnectError(f"{self._name} is on trial still")

    def _tell(self, phase: str) -> None:
        self._observer.phase(self._name, phase)


def _not_installed(name: str, reason: object) -> CommandError:
    """The release was tried there and did not stay; the device's own exit code for that is 5."""
    why = one_line(reason) or "it was rolled back"
    error = CommandError(f"{name}: {why}", hint="what served before serves again")
    error.kind, error.exit_code = "rolled-back", 5
    return error
