"""What a package needs to know of a result, kept while the study has its data and its board at hand.

A few real inputs as the result takes them (`golden.npz`), which device it was made for, and what its file
needs of a runtime. Later the data may be gone, or take minutes to open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.files import write_atomically
from edgeopt.field import npz
from edgeopt.field.evidence import DEPLOYMENT, GOLDEN_INPUTS
from edgeopt.optimize.job import Job
from edgeopt.runtimes.feeding import fed

MOST_SAMPLES = 8
MOST_BYTES = 4 * 2**20

Array = NDArray[np.generic]


def keep(job: Job, artifact: Artifact) -> dict[str, Any]:
    """Write the golden inputs; returns the entry of `best.json`."""
    cpu = job.profile.facts.get("cpu", {})
    machine = cpu["machine"].value if "machine" in cpu else job.board.facts.machine
    return {
        "opset": artifact.opset,
        "ir_version": artifact.ir_version,
        "original_sha256": job.inputs.model.digest,
        "machine": [machine] if isinstance(machine, str) else list(machine),
        "isa": list(cpu["features"].value) if "features" in cpu else [],
        "golden": _golden(job, artifact),
    }


def is_kept(folder: Path, document: Mapping[str, Any]) -> bool:
    """Whether the golden inputs are those that `best.json` speaks of."""
    if DEPLOYMENT not in document:
        return False
    wanted, path = document[DEPLOYMENT]["golden"]["sha256"], folder / GOLDEN_INPUTS
    return wanted is None or (path.is_file() and file_digest(path) == wanted)


def _golden(job: Job, artifact: Artifact) -> dict[str, Any]:
    """Inputs of the confirm part, which calibration never saw; random ones without data."""
    inputs = job.inputs
    samples = inputs.calibration if inputs.parts is None else inputs.fed(inputs.parts.confirm)
    taken = some(fed(artifact.interface, feeds) for feeds in samples.samples())
    source = "random" if inputs.parts is None else "data"
    if any(value.dtype.kind not in "biuf" for value in taken[0].values()):
        return {"source": source, "samples": 0, "sha256": None}
    content = npz.to_bytes({name: np.stack([feeds[name] for feeds in taken]) for name in taken[0]})
    write_atomically(job.options.output / GOLDEN_INPUTS, content)
    return {"source": source, "samples": len(taken), "sha256": hashlib.sha256(content).hexdigest()}


def some(feeds: Iterable[Mapping[str, Array]]) -> list[Mapping[str, Array]]:
    """The first few, at least one: not more than `MOST_SAMPLES` and, after the first, `MOST_BYTES`."""
    taken: list[Mapping[str, Array]] = []
    size = 0
    for one in feeds:
        size += sum(value.nbytes for value in one.values())
        if taken and size > MOST_BYTES:
            break
        taken.append({name: np.array(value) for name, value in one.items()})
        if len(taken) == MOST_SAMPLES:
            break
    return taken
