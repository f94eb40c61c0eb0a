"""Becoming root on a board: as it is, by a sudo that asks nothing, or by one that is given a password.

The password goes through stdin to `sudo -S`, once for each step; it is in no argument, no file and no log, on
neither side. Nothing is changed in sudoers.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeopt.boards.provisioning import script
from edgeopt.boards.transports import CommandResult, Transport
from edgeopt.core.errors import BoardError

# -k: a password that sudo remembers would leave ours in stdin, for the script to read.
ASKS_NOTHING = "sudo -k -n --"
TAKES_PASSWORD = "sudo -k -S -p '' --"  # noqa: S105 - a command line
BEGUN = "edgeopt-provision\t"


class Rights:
    """How commands on a board get the rights that they need."""

    def __init__(self, prefix: str, password: str | None = None) -> None:
        self._prefix, self._password = prefix, password

    def run(
        self, transport: Transport, composed: str, action: str, step: str, timeout_s: float
    ) -> CommandResult:
        """Run one action of a composed script.

        Raises:
            BoardError: sudo refuses.
            ConnectError: The board is gone.
            CommandError: It takes longer than `timeout_s`.
        """
        first = f"{self._password}\n" if self._password is not None else ""
        result = transport.run(
            script.command(action, step, self._prefix), timeout_s, (first + composed).encode()
        )
        if self._prefix and not result.stdout.startswith(BEGUN):
            raise BoardError(f"sudo refuses: {_why(result.stderr)}", hint="nothing was changed by this step")
        return result


AS_IS = Rights("")


def root(transport: Transport, ask: Callable[[], str] | None) -> Rights | None:
    """Find a way to be root on a board.

    Args:
        ask: Asks the user for the password that sudo wants; called at most once, and only if it wants one.
            None: nobody is asked.

    Returns:
        None if there is none.

    Raises:
        BoardError: There is no sudo, although `ask` was given.
    """
    if transport.run("id -u").stdout.strip() == "0":
        return AS_IS
    # Asked for the very command that is run: sudo may be free of passwords for some commands only.
    if transport.run(f"{ASKS_NOTHING} /bin/sh -c :").status == 0:
        return Rights(ASKS_NOTHING)
    if ask is None:
        return None
    if transport.run("command -v sudo").status != 0:
        raise BoardError(
            "there is no sudo on the board",
            hint="log in as root, or leave out --ask-sudo: measuring needs no root",
        )
    return Rights(TAKES_PASSWORD, ask())


def _why(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = any("no password was provided" in line or "incorrect password" in line for line in lines)
    if wrong or any(line.startswith("Sorry, try again") for line in lines):
        return "the password is wrong"
    return lines[-1].removeprefix("sudo: ") if lines else "it gives no reason"
