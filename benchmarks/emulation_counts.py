"""Count networks on virtual boards, once: for `emulation_accuracy.py` and `emulated_latency.py`.

Counts are kept in the cache by all that they depend on, so that a second run starts no emulator.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import deployed_networks
import numpy as np
import onnx
import published_networks

from edgeopt.boards import places, profiles
from edgeopt.boards.connect import ceiling
from edgeopt.boards.virtual import version
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.calibrating import Recording
from edgeopt.boards.virtual.counting import CacheTraffic, Counts, Segment
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.core.artifact import Artifact, Runtime
from edgeopt.core.digest import file_digest, value_digest
from edgeopt.core.errors import BoardError, CandidateFailed
from edgeopt.graph.workload import workload

REVISION = 2
"""Raise it when networks, exporter or runtime change what is counted."""
CALIBRATION_SAMPLES = 4
ORIGINAL = {"fp32": "fp32", "int8": "fp32"}
"""Counted as this one, like in a study; of `deployed_networks.RECIPES` it is `original`."""


@dataclass(frozen=True)
class Wanted:
    """One network to be counted on one kind of board, by `litert` or `onnxruntime`.

    Attributes:
        dtype: `fp32` or `int8` of a published network, or one of `deployed_networks.RECIPES`.
    """

    device: str
    model: str
    dtype: str
    runtime: Runtime = "litert"

    @property
    def file(self) -> Path:
        """Where its counts are kept."""
        key = value_digest(REVISION, version.counting(profiles.load(self.device)))
        folder = places.cache() / "virtual" / "counts" / key[:16]
        return folder / f"{self.runtime}-{self.model}-{self.dtype}.json.gz"


def counted(wanted: Iterable[Wanted]) -> dict[Wanted, Counts]:
    """The counts of each; those that are not known yet are taken, board by board."""
    all_wanted = list(dict.fromkeys(wanted))
    missing = [one for one in all_wanted if not one.file.exists()]
    for device in dict.fromkeys(one.device for one in missing):
        _count(device, [one for one in missing if one.device == device])
    return {one: _read(one.file) for one in all_wanted}


def _count(device: str, missing: list[Wanted]) -> None:
    profile = profiles.load(device)
    recording = Recording(CycleModel.of(profile))
    protocol = profiles.protocols(profile)["screen"]
    with VirtualBoard.open(profile, ceiling(profile, workload), pricing=recording) as board:
        for one in missing:
            if one.file.exists():  # of another device with the same core and caches
                continue
            print(f"counting {one.model} {one.dtype} on {device}", flush=True)
            recording.last = None
            made = _litert if one.runtime == "litert" else _onnx
            artifact, feeds = made(one.model, one.dtype)
            board.compare_with(made(one.model, ORIGINAL.get(one.dtype, "original"))[0], feeds)
            result = board.measure([artifact], feeds, protocol)[0]
            if isinstance(result, CandidateFailed):
                raise result
            if recording.last is None:
                raise BoardError(f"{device} counted nothing of {one.model}")
            _write(one.file, recording.last[0])


def _litert(model: str, dtype: str) -> tuple[Artifact, dict[str, np.ndarray]]:
    """The network as a LiteRT file, and an input for it."""
    from edgeopt.graph.freeze import freeze
    from edgeopt.graph.litert.environment import environment
    from edgeopt.graph.litert.export import export
    from edgeopt.graph.litert.quantize import static_int8
    from edgeopt.graph.litert.worker import Worker
    from edgeopt.graph.model import load

    path = _float(model)
    with Worker(environment(print)) as worker:
        made = export(freeze(load(path), {}), worker, path.parent, channels_last=True)
        if dtype == "int8":
            made = static_int8(made, Samples(), worker, path.parent)
    artifact = Artifact(model, made.path, made.sha256, made.size_bytes, runtime="litert")
    return artifact, dict(made.interface.feeds(next(iter(Samples().samples()))))


def _onnx(model: str, dtype: str) -> tuple[Artifact, dict[str, np.ndarray]]:
    """The network for ONNX Runtime, and an input for it."""
    if dtype in deployed_networks.RECIPES:
        return deployed_networks.made(model, dtype)
    path = _float(model)
    if dtype == "int8":
        target = path.with_name(f"{model}-int8.onnx")
        if not target.exists():
            _quantize(path, target)
        path = target
    artifact = Artifact(model, path, file_digest(path), path.stat().st_size)
    return artifact, next(iter(Samples().samples()))


def _quantize(source: Path, target: Path) -> None:
    """Static int8, per channel, both sides signed."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(Samples().samples())

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    signed = quantization.QuantType.QInt8
    quantization.quantize_static(
        source, target, Reader(), per_channel=True, activation_type=signed, weight_type=signed
    )


def _float(model: str) -> Path:
    folder = places.cache() / "virtual" / "published"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model}.onnx"
    if not path.exists():
        onnx.save(published_networks.build(model), path)
    return path


class Samples:
    """Random images: the weights are random too, and only their ranges matter."""

    digest = f"random {CALIBRATION_SAMPLES}"

    def samples(self) -> Iterable[dict[str, np.ndarray]]:
        random = np.random.default_rng(1)
        side = published_networks.SIZE
        for _ in range(CALIBRATION_SAMPLES):
            yield {"x": random.normal(0, 1, (1, 3, side, side)).astype(np.float32)}


def _write(path: Path, counts: Counts) -> None:
    """The whole, without segments: no node is told apart here."""
    total = counts.total
    document = {
        "blocks": {block: counts.blocks[block] for block in total.ran},
        "ran": dict(total.ran),
        "accesses": total.accesses,
        "caches": [[c.misses, c.streamed, c.written_back] for c in total.caches],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_bytes(gzip.compress(json.dumps(document).encode(), mtime=0))
    partial.replace(path)


def _read(path: Path) -> Counts:
    document = json.loads(gzip.decompress(path.read_bytes()))
    caches = tuple(CacheTraffic(*level) for level in document["caches"])
    blocks = {block: tuple(words) for block, words in document["blocks"].items()}
    return Counts(blocks, (Segment(document["ran"], document["accesses"], caches),))
