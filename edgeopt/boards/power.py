"""The power of a board that is silent, taken away and given back by a command of this machine."""

from __future__ import annotations

import os
import signal
import subprocess

from edgeopt.core.errors import BoardError

AFTER_S = 60.0
"""A board that is silent for less may be on its way back."""
LIMIT_S = 60.0


def cycle(command: str, name: str) -> None:
    """Run `[board.NAME] power_cycle`, a line for a shell (`uhubctl -l 1-1 -a cycle`, what a PDU wants).

    Raises:
        BoardError: It fails, or takes longer than a minute.
    """
    hint = f"power_cycle of [board.{name}]: {command}"
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise BoardError(f"{name}: to cycle its power takes more than {LIMIT_S:.0f} s", hint) from None
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()[-1:]
        reason = ": ".join([f"exit {process.returncode}", *said])
        raise BoardError(f"{name}: its power cannot be cycled: {reason}", hint)
