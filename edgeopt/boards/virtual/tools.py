"""What virtual boards need of this machine, and the one line that installs it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.errors import BoardError

LEAST_LLVM = 19
"""The first with a scheduling model of every core that is priced."""

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
        packages = " ".join(dict.fromkeys(item.package for item in lacking))
        raise BoardError(
            f"a virtual board needs {', '.join(item.command for item in lacking)}",
            hint=f"sudo apt-get install -y --no-install-recommends {packages}",
        )


def which(command: str) -> str | None:
    """Where a command is, also outside a user's PATH."""
    return shutil.which(command) or shutil.which(command, path=SYSTEM_FOLDERS)


def llvm(command: str) -> Path | None:
    """An LLVM tool that is new enough: `llvm-mca-19` and later, or `llvm-mca` if that is one."""
    for version in range(LEAST_LLVM + 6, LEAST_LLVM - 1, -1):
        if found := shutil.which(f"{command}-{version}"):
            return Path(found)
    if plain := shutil.which(command):
        version_in_path = re.search(r"llvm-?(\d+)", str(Path(plain).resolve()))
        if version_in_path and int(version_in_path[1]) >= LEAST_LLVM:
            return Path(plain)
    return None
