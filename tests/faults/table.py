"""The table of `docs/boards/faults.md`: every fault of the suite, what comes of it, and what a study does.

`python -m tests.faults.table` writes it anew.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from edgeopt.boards.patience import FINAL
from edgeopt.core.errors import BoardError, BusyError, CandidateFailed, ConnectError
from edgeopt.core.measurement import Measurement

PAGE = Path(__file__).parents[2] / "docs" / "boards" / "faults.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end of faults -->\n"
FAMILIES = {
    "network": "Networks and SSH servers",
    "candidates": "Models that misbehave",
    "storage": "Disks",
    "software": "The board's software",
    "sharing": "Several users; runners and hosts that die or stop",
}

ASKED = {
    "cable pull at connect": "cable pulled at connect",
    "cable pull during upload": "cable pulled during upload",
    "cable pull during measurement": "cable pulled during measurement",
    "hang": "hang",
    "hard reset": "one reset is nobodys fault",
    "real OOM at 256 MB": "memory ends",
    "full disk": "disk fills while uploading",
    "read-only disk": "disk turns read-only",
    "slow network": "slow network",
    "lossy network": "lossy network",
    "sshd killed": "sshd and its sessions killed",
    "changed host key": "host key changed",
    "two clients race": "two clients race for one board",
    "candidate exits": "candidate exits while it runs",
    "candidate hangs": "candidate spins without end",
    "candidate forks": "candidate forks many",
    "candidate prints garbage": "candidate prints garbage",
    "candidate fills stdout": "candidate floods stdout and stderr",
}
"""What must be there at least, and which fault is it."""


def families() -> Iterator[tuple[str, dict[str, type]]]:
    """Title of each family, and what comes of its faults, by name."""
    for family, title in FAMILIES.items():
        faults = importlib.import_module(f"tests.faults.{family}").FAULTS
        yield title, {name: fault.expects for name, fault in faults.items()}
    guest = importlib.import_module("tests.faults.test_guest_faults").FAULTS
    yield (
        "A virtual machine of its own",
        {given.__name__.replace("_", " "): came for given, came in guest.items()},
    )


def study_does(came: type) -> str:
    """What a study does about an outcome, as `edgeopt.boards.patience` treats its class."""
    if issubclass(came, Measurement):
        return "goes on: the figure counts"
    if issubclass(came, CandidateFailed):
        return "that trial fails, the others go on"
    if issubclass(came, BusyError):
        return "waits for `--wait`, then exit 4"
    if issubclass(came, ConnectError) and not issubclass(came, FINAL):
        return "pauses, tries again for `--wait`"
    assert issubclass(came, BoardError), came
    return "exit 4; the same command resumes"


def written() -> str:
    """All tables."""
    parts = []
    for title, faults in families():
        rows = [f"| {name} | `{came.__name__}` | {study_does(came)} |" for name, came in faults.items()]
        parts.append("\n".join([f"### {title}", "| fault | class | the study |", "|---|---|---|", *rows]))
    troubles = importlib.import_module("tests.faults.studies").TROUBLES
    rows = [f"| {name} | {trouble.outcome} |" for name, trouble in troubles.items()]
    parts.append(
        "\n".join(["### In the middle of a study", "| fault | what came of it |", "|---|---|", *rows])
    )
    return "\n\n".join(parts) + "\n"


def with_table(page: str) -> str:
    """The page with the tables of today."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + written() + END + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
