"""Named arrays and a header in one file that holds data and nothing else: reading it runs no code.

An `.npz` archive whose entry `header` is JSON text as bytes; pickled objects are refused.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
HEADER = "header"


def dump(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    """The file's content; the same arrays and header give the same bytes.

    Raises:
        ValueError: An array holds Python objects.
    """
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    # Before numpy 2.1 `allow_pickle=False` would be one more array here; only objects are ever pickled.
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise ValueError(f"arrays of objects are not written: {', '.join(objects)}")
    entries: dict[str, Any] = {HEADER: text, **arrays}
    np.savez_compressed(stream, **entries)
    return stream.getvalue()


def load(content: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and header of a file that `dump` made.

    Raises:
        ValueError: It is none, or a part of one.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
            header = json.loads(arrays.pop(HEADER).tobytes())
    except (OSError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"not a file of weights: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("not a file of weights: its header is no table")
    return arrays, header
