"""The form of an `.edgepkg`: which bytes stand around the content of its members. Pure, no IO.

Every header has one possible form, so that a reader can make it again and compare: what no signature covers
is covered by that.

Source: POSIX.1-1988 ustar interchange format, as in IEEE Std 1003.1-2017, pax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgeopt.core.errors import PackageError

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_MEMBERS = 1000
MAX_BYTES = 8 * 2**30 - 1
"""Of one member: what eleven octal digits hold. Also of the whole file."""
MAX_METADATA_BYTES = 4 * 2**20
"""Of one metadata file: a thousand targets take less than a tenth of it."""
MAX_NAME = 100

ROOT_NAME = re.compile(r"metadata/([1-9][0-9]{0,3})\.root\.json")
TARGETS_NAME = "metadata/targets.json"
METADATA = "metadata/"

_COMPONENT = re.compile(r"[A-Za-z0-9._-]+")
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a named pipe",
    b"x": "a pax header",
    b"g": "a pax header",
    b"L": "a long name of GNU tar",
    b"K": "a long link of GNU tar",
    b"S": "a sparse file of GNU tar",
}


def header(name: str, length: int) -> bytes:
    """The 512 bytes before the content of a member."""
    parts = (
        name.encode("ascii").ljust(MAX_NAME, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0",  # user
        b"0000000\0",  # group
        f"{length:011o}\0".encode(),
        b"00000000000\0",  # time
        b" " * 8,  # the checksum is computed as if it were blank
        b"0",  # a regular file
        bytes(100),
        b"ustar\00000",
    )
    block = b"".join(parts).ljust(BLOCK, b"\0")
    return block[:148] + f"{sum(block):06o}\0 ".encode() + block[156:]


def padding(length: int) -> int:
    """How many zero bytes follow a content of `length` bytes."""
    return -length % BLOCK


def parse_header(block: bytes) -> tuple[str, int]:
    """Name and length of a member.

    Raises:
        PackageError: It is anything else than what `header` makes, saying what.
    """
    raw = block[:MAX_NAME].rstrip(b"\0")
    shown = ascii(raw.decode("latin-1"))
    try:
        name, length = raw.decode("ascii"), int(block[124:135], 8)
    except ValueError:
        raise PackageError(f"the header of member {shown} is damaged") from None
    if kind := _KINDS.get(block[156:157]):
        raise PackageError(f"member {shown} is {kind}: a package holds regular files only")
    check_name(name)
    if header(name, length) != block:
        raise PackageError(f"the header of {name} is not as edgeopt writes it")
    if name.startswith(METADATA) and length > MAX_METADATA_BYTES:
        raise PackageError(f"{name} is larger than metadata ever is")
    return name, length


def check_name(name: str) -> None:
    """Refuse every name that could lead out of a folder, or mean another file elsewhere.

    Raises:
        PackageError: Saying what is wrong with it.
    """
    shown = ascii(name)
    if name.startswith("/"):
        raise PackageError(f"member {shown} has an absolute path")
    parts = name.split("/")
    if ".." in parts or "." in parts:
        raise PackageError(f"member {shown} leads out of its folder")
    if len(name) > MAX_NAME:
        raise PackageError(
            f"member {shown[:60]}… has a name of {len(name)} characters, {MAX_NAME} is the most"
        )
    if not all(_COMPONENT.fullmatch(part) for part in parts):
        raise PackageError(f"member {shown} has a name of other characters than A-Z a-z 0-9 . _ - /")


def ordered(names: Iterable[str]) -> list[str]:
    """The order of members: roots by version, the targets, then the payload by name."""

    def key(name: str) -> tuple[int, int, str]:
        if root := ROOT_NAME.fullmatch(name):
            return 0, int(root[1]), name
        return (1, 0, name) if name == TARGETS_NAME else (2, 0, name)

    return sorted(names, key=key)


def check_names(names: Sequence[str]) -> None:
    """Refuse a set of members that is none of a package: order, number, roots, names that hide others.

    Raises:
        PackageError: Saying what.
    """
    if not names:
        raise PackageError("it holds nothing")
    if len(names) > MAX_MEMBERS:
        raise PackageError(f"it holds more than {MAX_MEMBERS} members")
    seen: set[str] = set()
    for name in names:
        check_name(name)
        if name in seen:
            raise PackageError(f"member {name} is there twice")
        seen.add(name)
    for name in names:
        for parent in _parents(name):
            if parent in seen:
                raise PackageError(f"member {parent} is a file, and the folder of {name}")
    if list(names) != ordered(names):
        raise PackageError("its members are in another order than edgeopt writes")
    roots = [name for name in names if ROOT_NAME.fullmatch(name)]
    if roots != [f"metadata/{version}.root.json" for version in range(1, len(roots) + 1)] or not roots:
        raise PackageError("its chain of roots does not go 1, 2, 3, …")
    if TARGETS_NAME not in seen:
        raise PackageError(f"there is no {TARGETS_NAME}")
    for name in names:
        if name.startswith(METADATA) and name != TARGETS_NAME and name not in roots:
            raise PackageError(f"member {name} is neither a root nor {TARGETS_NAME}")


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
