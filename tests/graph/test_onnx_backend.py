"""ONNX's own test models: each still gives its expected outputs after all exact rewrites, or is refused."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from edgeopt.core.errors import EdgeoptError
from edgeopt.graph import rewriting
from edgeopt.graph.interface import interface_of
from edgeopt.graph.model import freeze, load, to_bytes
from edgeopt.graph.regions import regions, tag
from edgeopt.runtimes.feeding import fed
from edgeopt.testing.rewrites import run

KINDS = ("light", "simple", "pytorch-converted", "pytorch-operator")
"""Sets whose models and data come with the `onnx` package; those of `node` are generated from it."""

Data = list[tuple[list[object], list[object]]]


def outcome(proto: onnx.ModelProto, data: Data, rtol: float, atol: float, folder: Path) -> str:
    """`equal`, why it was `refused`, or that the runtime does not run it.

    Raises:
        AssertionError: The rewritten model gives something else.
    """
    content = proto.SerializeToString()
    names = [value.name for value in proto.graph.input]
    known = {constant.name for constant in proto.graph.initializer}
    names = [name for name in names if name not in known] if len(names) > len(data[0][0]) else names
    for inputs, expected in data:
        try:
            given = run(content, dict(zip(names, inputs, strict=True)))  # type: ignore[arg-type]
        except Exception as error:  # whatever the runtime raises for what it does not know
            return f"not run: {str(error)[:120]}"
        if not _close(given, expected, rtol, atol):
            return "not run: the runtime gives something else"
    path = folder / "model.onnx"
    path.write_bytes(content)
    try:
        model = load(path)
        shapes = {name: np.shape(array) for name, array in zip(names, data[0][0], strict=True)}  # type: ignore[arg-type]
        frozen = freeze(model, {s.name: shapes[s.name] for s in model.inputs if None in s.shape})
    except EdgeoptError as error:
        return f"refused: {error.message}"
    graph = frozen.ir.clone()
    tag(graph, regions(frozen))
    done = rewriting.apply(graph, lambda name, _: rewriting.is_exact(name))
    for inputs, expected in data:
        feeds = {name: array for name, array in zip(names, inputs, strict=True) if name in shapes}
        feeds = dict(fed(interface_of(graph.metadata_props), feeds))  # type: ignore[arg-type]
        rewritten = run(to_bytes(graph), feeds)  # type: ignore[arg-type]
        applied = sorted({each.rewrite for each in done})
        assert _close(rewritten, expected, rtol, atol), f"{proto.graph.name} changed by {applied}"
    return "equal, rewritten" if done else "equal"


def _close(given: Iterable[object], expected: Iterable[object], rtol: float, atol: float) -> bool:
    for one, other in zip(given, expected, strict=True):
        if not isinstance(other, np.ndarray) or not isinstance(one, np.ndarray):
            return False
        if one.shape != other.shape:
            return False
        if other.dtype.kind not in "fc":
            if not np.array_equal(one, other):
                return False
        elif not np.allclose(one, other, rtol, atol, equal_nan=True):
            return False
    return True


def stored(kind: str) -> list[TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(loader.load_model_tests(kind=kind))


@cache
def generated() -> tuple[TestCase, ...]:
    """What `backend-test-tools generate-data` would write; onnx makes all of it at once, in 6 s."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))


def data_of(case: TestCase) -> Iterator[tuple[list[object], list[object]]]:
    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield [_array(each) for each in inputs], [_array(each) for each in outputs]
        return
    for folder in sorted(Path(str(case.model_dir)).glob("test_data_set_*")):
        yield tuple([_tensor(path) for path in _numbered(folder, kind)] for kind in ("input", "output"))  # type: ignore[misc]


def _array(given: object) -> object:
    if isinstance(given, onnx.TensorProto):
        return numpy_helper.to_array(given)
    return np.asarray(given) if isinstance(given, np.generic) else given


def _numbered(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))


def _tensor(path: Path) -> object:
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):  # a sequence
        return None


def run_all(cases: Iterable[TestCase], folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        proto = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
        try:
            said = outcome(proto, list(data_of(case)), case.rtol, case.atol, folder)
        except Exception as error:  # all that is wrong is told at once
            wrong.append(f"{case.name}: {type(error).__name__}: {str(error)[:300]}")
            continue
        counts[said.partition(":")[0]] += 1
        reasons[said] += 1
    print(dict(counts), *(f"{count:5} {reason}" for reason, count in reasons.most_common(40)), sep="\n")
    assert not wrong, "\n".join([f"{len(wrong)} models:", *wrong])
    return counts


def test_a_sample_of_onnx_own_models_gives_what_is_expected(tmp_path: Path) -> None:
    counts = run_all([*generated()[::12], *stored("simple")[::4], *stored("pytorch-operator")[::4]], tmp_path)
    assert counts["equal"] + counts["equal, rewritten"] >= 100


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_all_of_onnx_own_models_give_what_is_expected(tmp_path: Path) -> None:
    cases = [*generated(), *(case for kind in KINDS for case in stored(kind))]
    counts = run_all(cases, tmp_path)
    assert counts["equal"] + counts["equal, rewritten"] >= 1_000
