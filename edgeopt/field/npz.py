"""`.npz` files whose bytes depend on their arrays alone: stored, no times, sorted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import PackageError

Arrays = Mapping[str, NDArray[Any]]

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can say."""


def to_bytes(arrays: Arrays) -> bytes:
    """An archive that `numpy.load` reads.

    Args:
        arrays: By name; of numbers and bools, little-endian.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            plain = np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)  # it makes (1,) of ()
            np.lib.format.write_array(member, plain, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, member.getvalue())
    return stream.getvalue()


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive that `to_bytes` made.

    Raises:
        PackageError: It is none.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, EOFError) as error:
        raise PackageError(f"{path} is not an archive of arrays: {error}") from error
