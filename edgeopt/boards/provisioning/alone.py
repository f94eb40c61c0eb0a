"""Nobody measures on a board while it is being changed: provisioning takes the lease that measuring takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from edgeopt.boards.address import Address
from edgeopt.boards.complaints import LEAST_PYTHON, explained
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.lease import Claim, owner
from edgeopt.core import plugins
from edgeopt.core.errors import CommandError, ConnectError

HINT = (
    "repeat the command when it is free; edgeopt boards who shows who has it, and "
    "edgeopt boards unlock --force takes it away"
)


@contextmanager
def alone(address: Address) -> Iterator[None]:
    """Have a board to oneself.

    The runner that holds the lease is run by the system's Python, since a prepared one may not be there yet.
    Where that is missing or too old there is no lease, for it could not measure either.

    Raises:
        BusyError: Somebody measures there, or has reserved it.
        ConnectError: It is unreachable.
        CommandError: The runner cannot be stored there.
    """
    with closing(plugins.load("transports", address.scheme).connect(replace(address, python=None))) as there:
        if there.run(f"python3 -c 'import sys; sys.exit(sys.version_info < {LEAST_PYTHON})'").status:
            yield
            return
        try:
            dialogue = Dialogue(there.start_runner(), str(address))
        except (ConnectError, CommandError) as error:
            raise explained(error, str(address)) from error
        try:
            # Who was cut off and repeats the command takes back what its former runner may still hold.
            Claim(nonce=f"provision by {owner()}", hint=HINT).take(dialogue, str(address))
            yield
        finally:
            dialogue.close()
