"""Run the steps on a board, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

from edgeopt.boards.address import Address
from edgeopt.boards.provisioning import wheels
from edgeopt.boards.provisioning.alone import alone
from edgeopt.boards.provisioning.results import StepResult, needs_root, parse
from edgeopt.boards.provisioning.root import AS_IS, Rights, root
from edgeopt.boards.provisioning.script import Settings, compose
from edgeopt.boards.provisioning.steps import Step
from edgeopt.boards.transports import Transport
from edgeopt.core import plugins
from edgeopt.core.errors import BoardError, CommandError, ConnectError
from edgeopt.core.progress import Observer

Action = Literal["check", "do", "undo"]

STEP_TIMEOUT_S = 150.0
ALIVE_TIMEOUT_S = 20.0
RUNTIME_TIMEOUT_S = 1800.0
"""Unpacking and compiling 200 MB takes a slow SD card minutes."""

REBOOT_TIMEOUT_S = 300.0
GOING_DOWN_S = 90.0
"""What systemd gives a service to stop."""
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a board.

    Attributes:
        address: Where it is measured from now on: another user than the one who prepared it, perhaps.
        python: The interpreter that has the runtime; None if that step did not run or failed.
    """

    address: Address
    results: tuple[StepResult, ...]
    python: str | None

    @property
    def failed(self) -> tuple[StepResult, ...]:
        return tuple(result for result in self.results if result.state == "failed")

    @property
    def url(self) -> str:
        """The whole address, with the prepared interpreter."""
        there = self.address
        parts = {
            "python": self.python,
            "identity": there.identity,
            "config": there.config,
            "model": there.model,
        }
        query = urlencode({name: str(value) for name, value in parts.items() if value}, safe="/")
        return str(self.address) + (f"?{query}" if query else "")

    @property
    def reboots(self) -> tuple[str, ...]:
        return tuple(reason for result in self.results for reason in result.reboots)


def login_user(address: Address) -> str:
    """Who one is on a board.

    Raises:
        ConnectError: It is unreachable.
    """
    with closing(_connect(address)) as transport:
        return transport.run("id -un").stdout.strip()


def provision(
    address: Address,
    steps: Sequence[Step],
    settings: Settings,
    action: Action,
    ask_sudo: Callable[[], str] | None = None,
    observer: Observer | None = None,
) -> Outcome:
    """Check, do or undo steps. They are independent: where one fails, the others go on.

    Args:
        address: Of the board, as who may prepare it.
        ask_sudo: Asks the user for the password of sudo; None: steps that need root are left out unless sudo
            asks for none.

    Raises:
        BusyError: Somebody measures there, or has reserved it; a check disturbs nobody for long and is free.
        ConnectError: The board is gone; what was done stays, and the same command goes on from there.
        BoardError: sudo refuses.
    """
    with nullcontext() if action == "check" else alone(address):
        return _provisioned(address, steps, settings, action, ask_sudo, observer or Observer())


def _provisioned(
    address: Address,
    steps: Sequence[Step],
    settings: Settings,
    action: Action,
    ask_sudo: Callable[[], str] | None,
    observer: Observer,
) -> Outcome:
    composed = compose(steps, settings)
    privileged = [step for step in steps if step.scope == "root"]
    own = [step for step in steps if step.scope == "user"]
    measured = replace(address, user=settings.measure_user)
    other = settings.measure_user != settings.login_user
    # Undone in the opposite order: the account of the measuring user goes when its environment is gone.
    results: list[StepResult] = []
    for scope in ("root", "user") if action != "undo" else ("user", "root"):
        if scope == "root":
            results += _of_root(address, privileged, composed, action, ask_sudo, observer)
        else:
            where = measured if other else address
            results += _of_user(where, own, composed, settings, action, observer)
    python = next((result.python for result in results if result.python), None)
    return Outcome(measured if other else address, tuple(results), python)


def rebooted(
    address: Address,
    steps: Sequence[Step],
    settings: Settings,
    action: Action,
    outcome: Outcome,
    ask_sudo: Callable[[], str] | None,
    observer: Observer | None = None,
) -> Outcome:
    """The outcome after a reboot: what needed it is asked for again, and may still not be as it should.

    Raises:
        BoardError: Nobody may reboot it, or it does not come back.
    """
    reboot(address, ask_sudo, observer)
    waiting = [step for step in steps if any(r.step == step and r.reboots for r in outcome.results)]
    checked = provision(address, waiting, settings, "check", ask_sudo, observer) if action == "do" else None
    still = {result.step: result.reboots for result in checked.results} if checked else {}
    results = tuple(replace(result, reboots=still.get(result.step, ())) for result in outcome.results)
    return replace(outcome, results=results)


def reboot(address: Address, ask_sudo: Callable[[], str] | None, observer: Observer | None = None) -> None:
    """Reboot a board and wait until it is back.

    Raises:
        BusyError: Somebody measures there.
        BoardError: Nobody may reboot it, or it does not come back.
    """
    (observer or Observer()).stage("rebooting the board")
    with closing(_connect(address)) as transport:
        before = transport.run(BOOT_ID).stdout
        rights = root(transport, ask_sudo)
        if rights is None:
            raise BoardError("rebooting needs root", hint="--ask-sudo, or reboot it yourself")
        composed = compose((), Settings("", "", (), ()))
        with alone(address), suppress(ConnectError, CommandError):  # it takes the connection along
            rights.run(transport, composed, "reboot", "", 20.0)
            # systemd goes down in its own time: the lease is kept until it takes the runner along, or who
            # waits for the board would begin to measure on one that is about to leave.
            transport.run(f"sleep {GOING_DOWN_S:g}", GOING_DOWN_S + ALIVE_TIMEOUT_S)
    end = time.monotonic() + REBOOT_TIMEOUT_S
    while time.monotonic() < end:
        time.sleep(1.0)
        with suppress(ConnectError), closing(_connect(address)) as transport:
            now = transport.run(BOOT_ID).stdout
            if now and now != before:
                return
    raise ConnectError(f"{address} has not come back within {REBOOT_TIMEOUT_S:g} s of being rebooted")


def _of_root(
    address: Address,
    steps: Sequence[Step],
    composed: str,
    action: Action,
    ask_sudo: Callable[[], str] | None,
    observer: Observer,
) -> list[StepResult]:
    if not steps:
        return []
    with closing(_connect(address)) as transport:
        rights = root(transport, ask_sudo)
        if rights is None and action != "check":
            return [needs_root(step) for step in steps]
        # Without rights, what would be done can mostly be seen.
        return [_step(transport, rights or AS_IS, composed, action, step, observer) for step in steps]


def _of_user(
    address: Address,
    steps: Sequence[Step],
    composed: str,
    settings: Settings,
    action: Action,
    observer: Observer,
) -> list[StepResult]:
    results: list[StepResult] = []
    if not steps:
        return results
    try:
        transport = _connect(address)
    except ConnectError:
        if settings.measure_user == settings.login_user or action == "do":
            raise
        return [_nobody(step, settings.measure_user, action) for step in steps]
    with closing(transport):
        for step in steps:
            if step.name == "runtime" and action == "do" and not settings.from_index:
                checked = _step(transport, AS_IS, composed, "check", step, observer)
                if checked.state != "would-change":
                    results.append(checked)
                    continue
                try:
                    _send_wheels(transport, settings, observer)
                except ConnectError:
                    raise
                except BoardError as error:
                    why = f"{error.message}; {error.hint}" if error.hint else error.message
                    results.append(StepResult(step, "failed", reason=why))
                    continue
            results.append(_step(transport, AS_IS, composed, action, step, observer, RUNTIME_TIMEOUT_S))
        if action == "do" and not settings.from_index:
            wheels.unstage(transport)
    return results


def _send_wheels(transport: Transport, settings: Settings, observer: Observer) -> None:
    wanted = wheels.target(transport)
    what = " ".join(settings.requirements)
    observer.stage(f"downloading {what} for Python {wanted.python}, {wanted.machine}")
    found = wheels.download(settings.requirements, wanted)
    size = sum(wheel.stat().st_size for wheel in found)
    observer.stage(f"sending {len(found)} wheels, {size / 1e6:.0f} MB")
    wheels.send(transport, found)


def _nobody(step: Step, user: str, action: Action) -> StepResult:
    """Of an account that is not there yet, or no longer."""
    if action == "undo":
        return StepResult(step, "unchanged")
    return StepResult(step, "would-change", (f"{step.title}, once {user} is there",))


def _step(
    transport: Transport,
    rights: Rights,
    composed: str,
    action: Action,
    step: Step,
    observer: Observer,
    timeout_s: float = STEP_TIMEOUT_S,
) -> StepResult:
    observer.stage(f"{step.name}: {step.title}")
    try:
        done = rights.run(transport, composed, action, step.name, timeout_s)
    except CommandError as error:
        # A cable that is pulled behind an emulator breaks no connection: nothing answers any more.
        try:
            transport.run("true", ALIVE_TIMEOUT_S)
        except CommandError:
            raise ConnectError(
                f"lost the connection in step {step.name}", hint="repeat the command: it goes on from there"
            ) from error
        return StepResult(step, "failed", reason=f"{error.message}: repeat the command")
    if result := parse(step, done.stdout):
        return result
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return StepResult(step, "failed", reason=said[-1] if said else f"it ended with status {done.status}")


def _connect(address: Address) -> Transport:
    transport: Transport = plugins.load("transports", address.scheme).connect(address)
    return transport
