"""What a virtual board's disk is made of. Its digest names the image: another recipe, another image."""

from __future__ import annotations

import os
from pathlib import Path

from edgeopt.core.digest import value_digest

GUEST = Path(__file__).parent / "guest"
"""The guest's own files: its first processes, SSH server configuration, packages, wheels, modules."""

FORMAT = 3
"""Raised when the builder makes something else of the same files."""

SUITE = "bookworm"
PYTHON = "3.11"
PLATFORMS = tuple(
    f"manylinux{tag}_aarch64" for tag in ("_2_34", "_2_31", "_2_28", "_2_27", "_2_26", "_2_17", "2014")
)
PACKAGES = "/usr/lib/python3/dist-packages"
DISK_BYTES = 4 << 30
"""Size that the guest sees; the file is sparse."""

BUILD_BYTES = 1_200_000_000
"""Room that building takes, most of it only while it lasts."""

USER = "board"
HOST = "edgeopt-virtual"
"""How known_hosts names every board made from an image, wherever it listens."""

KERNEL_ARGUMENTS = "console=ttyAMA0 quiet loglevel=3 panic=-1 norandmaps mitigations=off"

ACCOUNTS = {
    "passwd": (
        "root:x:0:0:root:/root:/bin/bash",
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin",
        f"{USER}:x:1000:1000::/home/{USER}:/bin/bash",
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
    ),
    "group": ("root:x:0:", "tty:x:5:", f"{USER}:x:1000:", "nogroup:x:65534:"),
    "shadow": tuple(f"{user}:*:19000:0:99999:7:::" for user in ("root", "sshd", USER)),
}


def mirror() -> str:
    """Where Debian packages come from: `$EDGEOPT_DEBIAN_MIRROR`, by default Debian's own."""
    return os.environ.get("EDGEOPT_DEBIAN_MIRROR") or "http://deb.debian.org/debian"


def listed(name: str) -> list[str]:
    """The entries of one of the guest's lists."""
    lines = (GUEST / name).read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#")]


def digest() -> str:
    """The identity of the image that this recipe makes."""
    files = {path.name: path.read_text(encoding="utf-8") for path in GUEST.iterdir() if path.is_file()}
    return value_digest(FORMAT, SUITE, PYTHON, DISK_BYTES, KERNEL_ARGUMENTS, ACCOUNTS, files)[:16]
