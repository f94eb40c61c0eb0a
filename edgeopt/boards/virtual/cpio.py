"""Writes an initial RAM disk: a gzipped cpio archive in the kernel's `newc` format.

Source: Documentation/driver-api/early-userspace/buffer-format.rst of the Linux kernel.
"""

from __future__ import annotations

import gzip
import stat
from pathlib import Path

_LAST = "TRAILER!!!"


def write(folder: Path, target: Path) -> None:
    """Archive what is in `folder`; everything belongs to root and may be executed by it.

    Raises:
        OSError: It cannot be read, or there is no room.
    """
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as out:
        for number, path in enumerate(sorted(folder.rglob("*")), 1):
            name = str(path.relative_to(folder))
            if path.is_dir():
                out.write(_header(name, number, stat.S_IFDIR | 0o755, b""))
            else:
                content = path.read_bytes()
                out.write(_header(name, number, stat.S_IFREG | 0o755, content))
                out.write(_padded(content))
        out.write(_header(_LAST, 0, 0, b""))


def _header(name: str, number: int, mode: int, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device and rdev (major, minor), name size, checksum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    return _padded(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
