"""Two users of one board, and what its lease says of them."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path

from edgeopt.boards.lease import Claim
from tests.sshd import descendants

ANN = Claim(owner="ann@desk", command="edgeopt optimize a.onnx")
BOB = Claim(owner="bob@lab", command="edgeopt measure b.onnx")


def new(claim: Claim, **changes: object) -> Claim:
    """The same user's next command."""
    return replace(claim, nonce=os.urandom(4).hex(), **changes)


def record() -> dict[str, object]:
    return dict(json.loads(Path(os.environ["EDGEOPT_LEASE_DIR"], "edgeopt.lease").read_text()))


def runners() -> list[int]:
    """Supervisors that this test has started."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"edgeopt_runner.py" in line and b"--child" not in line:
                found.append(pid)
    return found
