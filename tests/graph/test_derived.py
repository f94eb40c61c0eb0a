"""Constants computed from the same constants are the same tensor, as long as one of them is in use."""

from __future__ import annotations

import gc

import numpy as np
import onnx_ir as ir

from edgeopt.graph.derived import derived


def value(*numbers: float) -> ir.Value:
    return ir.Value(name="w", const_value=ir.Tensor(np.array(numbers, np.float32)))


def test_it_is_made_once_for_the_same_constants_and_form() -> None:
    made: list[str] = []

    def make() -> np.ndarray:
        made.append("")
        return np.zeros(2, np.float32)

    a, b = value(1, 2), value(3, 4)
    first = derived([a, None, b], ("sum", 1), make)
    assert derived([a, None, b], ("sum", 1), make) is first
    assert len(made) == 1
    others = [derived([b, None, a], ("sum", 1), make), derived([a, None, b], ("sum", 2), make)]
    assert all(other is not first for other in others)
    assert len(made) == 3


def test_what_nobody_holds_is_forgotten_and_never_taken_for_another() -> None:
    for number in range(50):  # identities of what is gone come again
        tensor = derived([value(number)], "same", lambda number=number: np.array([number], np.float32))
        assert tensor.numpy() == [number]
        del tensor
        gc.collect()
