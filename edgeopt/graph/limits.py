"""How large a model may be: a file from elsewhere must not exhaust the host."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are checked before anything large is read.

    Attributes:
        max_bytes: Of the file and all the external data that it refers to. Protobuf, and so every single
            `.onnx` file that edgeopt could write, ends at 2 GiB.
        max_nodes: Of the main graph and all subgraphs, after local functions are inlined.
    """

    max_bytes: int = 2 * GIB
    max_nodes: int = 200_000
