"""Boards that are provisioned for real, and what is run on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from edgeopt.boards.address import Address
from edgeopt.boards.provisioning import steps as every
from edgeopt.boards.provisioning.provision import Action, Outcome, provision
from edgeopt.boards.provisioning.script import Settings
from edgeopt.boards.provisioning.steps import Step
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual.running import Running

PASSWORD = "correct-horse-7c1f"
PARANOID = "/proc/sys/kernel/perf_event_paranoid"
LISTING = (
    "find / -xdev ! -path '/var/log/*' ! -path '/var/lib/sudo/*' ! -path '*/.cache*' ! -name '*-' "
    "! -name .pwd.lock ! -name 'sub?id*' ! -name edgeopt.lease -type f -printf '%p %s %m %U %G\\n' | sort; "
    "find /home /boot /etc /var/lib -xdev ! -path '*/.cache*' -type d 2> /dev/null | sort; "
    f"cat {PARANOID} /proc/swaps /etc/passwd /etc/shadow /etc/group /boot/firmware/* 2> /dev/null || :"
)


class Board:
    """A virtual board of one test, and root's way into it."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def root(self, command: str) -> str:
        with contextlib.closing(ssh.connect(Address.parse(self.running.root_url))) as shell:
            done = shell.run(command, 120.0)
        assert done.status == 0, done.stderr
        return done.stdout

    def allow_sudo(self, user: str = "board") -> None:
        """Give the user a password that sudo wants; Debian's own maintainer scripts would have set up PAM."""
        pam = "".join(
            f"printf '%s required pam_unix.so\\n' {kind} > /etc/pam.d/common-{name}; "
            for kind, name in [
                ("auth", "auth"), ("account", "account"), ("password", "password"),
                ("session", "session"), ("session", "session-noninteractive"),
            ]
        )  # fmt: skip
        self.root(
            f"{pam} groupadd -f sudo; usermod -aG sudo {user}; echo '{user}:{PASSWORD}' | chpasswd -c SHA512"
        )


def run(
    url: str, action: Action, names: Sequence[str], password: str | None = None, **settings: object
) -> Outcome:
    steps = [step for step in every.all_steps() if step.name in names]
    return run_steps(url, action, steps, password, **settings)


def run_steps(
    url: str, action: Action, steps: Sequence[Step], password: str | None = None, **settings: object
) -> Outcome:
    address = Address.parse(url)
    login = address.user or "board"
    told = replace(
        Settings.of(login, login, litert=False, from_index=False, meter=None),
        **settings,  # type: ignore[arg-type]
    )
    ask: Callable[[], str] | None = None if password is None else lambda: password
    return provision(address, steps, told, action, ask)


def states(outcome: Outcome) -> dict[str, str]:
    return {result.step.name: result.state for result in outcome.results}
