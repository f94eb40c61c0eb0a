"""What virtual boards need of this machine, and the one line that installs it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.errors import BoardError

LEAST_LLVM = 19
"""The first with a scheduling model of every core that is priced, and the one whose prices the calibration of
the shipped profiles is fitted to: another may price the same block differently, so it is taken first."""

NEWEST_LLVM = LEAST_LLVM + 6

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FILES = {KEYRING: "debian-archive-keyring", Path("/usr/include/stdio.h"): "libc6-dev"}
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # where mkfs is, and often not on a user's PATH

COMMANDS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "fakeroot": "fakeroot",
    "ssh-keygen": "openssh-client",
    "gcc": "gcc",
}
LLVM_COMMANDS = ("llvm-mc", "llvm-mca")


@dataclass(frozen=True, slots=True)
class Missing:
    """A command, or a file, that is not here, and the Debian package that has it."""

    command: str
    package: str


def missing() -> tuple[Missing, ...]:
    """What this machine lacks. Starts no process."""
    lacking = [Missing(command, package) for command, package in COMMANDS.items() if not which(command)]
    lacking += [Missing(command, f"llvm-{LEAST_LLVM}") for command in LLVM_COMMANDS if not llvm(command)]
    lacking += [Missing(path.name, package) for path, package in FILES.items() if not path.is_file()]
    return tuple(lacking)


def require() -> None:
    """Check that virtual boards can be made and run here.

    Raises:
        BoardError: Something is missing; the hint is the line that installs it.
    """
    if lacking := missing():
        raise BoardError(
            f"a virtual board needs {', '.join(item.command for item in lacking)}", hint=install_line()
        )


def install_line() -> str | None:
    """The command that installs what is missing; None where nothing is."""
    packages = " ".join(dict.fromkeys(item.package for item in missing()))
    return f"sudo apt-get install -y --no-install-recommends {packages}" if packages else None


def which(command: str) -> str | None:
    """Where a command is, also outside a user's PATH."""
    return shutil.which(command) or shutil.which(command, path=SYSTEM_FOLDERS)


def llvm(command: str) -> Path | None:
    """An LLVM tool that is new enough: of LLVM 19 if that is here, by either name, else of the next."""
    plain = shutil.which(command)
    plain_version = _version_in_path(Path(plain)) if plain else None
    for version in range(LEAST_LLVM, NEWEST_LLVM + 1):
        if found := shutil.which(f"{command}-{version}"):
            return Path(found)
        if plain and plain_version == version:
            return Path(plain)
    return Path(plain) if plain and (plain_version or 0) > NEWEST_LLVM else None


def other_llvm() -> str | None:
    """What to tell whoever gets prices of another LLVM than the calibration was made with; None: no need."""
    path = llvm("llvm-mca")
    if path is None or (version := _version_in_path(path)) == LEAST_LLVM:
        return None
    return (
        f"{path} is of LLVM {version}; the emulation is calibrated with LLVM {LEAST_LLVM}, so figures may be "
        f"off by more than they say: sudo apt-get install -y --no-install-recommends llvm-{LEAST_LLVM}"
    )


def _version_in_path(path: Path) -> int | None:
    """Of an LLVM tool, from its own name or its folder's, links followed: asking it takes a process."""
    found = re.findall(r"llvm-?(\d+)", str(path.resolve())) or re.findall(r"-(\d+)$", path.name)
    return int(found[-1]) if found else None
