"""What is learnt from: inputs without labels, and what the original answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeopt.graph.calibration import Samples
from edgeopt.graph.training.operators import Untrainable
from edgeopt.runtimes.onnxruntime import Session

Arrays = dict[str, NDArray[np.generic]]

MOST_SAMPLES = 4096
MOST_BYTES = 512 << 20
"""Inputs and answers that are held in memory; further samples are left out."""
LEAST_SAMPLES = 16
HELD_OUT = 0.2


@dataclass(frozen=True, slots=True)
class Lessons:
    """Inferences, counted by a new first axis of each array.

    Attributes:
        feeds: By input.
        answers: Of the original, by output; floats only.
        taught: Numbers of the samples that are trained on.
        held_out: Of those that judge it.
    """

    feeds: Arrays
    answers: Arrays
    taught: NDArray[np.int64]
    held_out: NDArray[np.int64]


def lessons(original: bytes, parts: Iterable[Samples], seed: int) -> Lessons:
    """Run the original on unlabelled samples, and hold a fifth of them out.

    Args:
        original: Frozen; as a file's content.
        parts: One after the other, until they are many enough.
        seed: Says which are held out.

    Raises:
        Untrainable: Too few samples, or no output of floats.
        ModelError: The runtime refuses the original.
        CandidateFailed: It cannot compute a sample.
    """
    session = Session(original)
    names = [spec.name for spec in session.outputs]
    feeds: dict[str, list[NDArray[np.generic]]] = {spec.name: [] for spec in session.inputs}
    answers: dict[str, list[NDArray[np.generic]]] = {name: [] for name in names}
    held = count = 0
    for sample in itertools.chain.from_iterable(part.samples() for part in parts):
        found = session.run(sample)
        for name in feeds:
            feeds[name].append(np.array(sample[name]))
        for name, array in zip(names, found, strict=True):
            answers[name].append(array)
        held += sum(sample[name].nbytes for name in feeds) + sum(array.nbytes for array in found)
        count += 1
        if count == MOST_SAMPLES or held > MOST_BYTES:
            break
    if count < LEAST_SAMPLES:
        raise Untrainable(f"{count} samples are too few to learn from and to hold some out")
    floats = {name: arrays for name, arrays in answers.items() if arrays[0].dtype == np.float32}
    if not floats:
        raise Untrainable("it has no output of float32 to learn from")
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(1, round(HELD_OUT * count))
    return Lessons(
        _stacked(feeds), _stacked(floats), np.sort(order[held_out:]), np.sort(order[:held_out])
    )  # fmt: skip


def _stacked(arrays: Mapping[str, list[NDArray[np.generic]]]) -> Arrays:
    if any(len({array.shape for array in found}) > 1 for found in arrays.values()):
        raise Untrainable("its samples have different shapes")
    return {name: np.stack(found) for name, found in arrays.items()}
