"""The conformance suite of rewrites: what every file in `edgeopt/graph/rewrites` must keep to.

A package that brings rewrites of its own runs the same suite over them::

    @pytest.mark.parametrize("name", plugins.names("rewrites"))
    def test_rewrite_conforms(name, tmp_path):
        check_rewrite(name, tmp_path)

Each check raises `AssertionError` with a message that says which example broke which promise.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray

from edgeopt.core.errors import RewriteError
from edgeopt.graph import equivalence, interface, rewriting
from edgeopt.graph.model import Model, freeze, load, to_bytes
from edgeopt.graph.regions import REGION_TAG, regions, tag
from edgeopt.graph.rewrites import Example, Rewrite

SECTIONS = ("Before:", "After:", "Weights:", "Does not apply when:", "Source:")
"""What the docstring of a rewrite's file must say, after its first line."""


def check_rewrite(name: str, folder: Path) -> None:
    """Run the whole suite over one rewrite.

    Args:
        name: As `edgeopt rewrites list` shows it.
        folder: An empty folder for the examples' models.

    Raises:
        AssertionError: A promise is broken.
    """
    rewrite = rewriting.load(name)
    check_declaration(name, rewrite)
    for index, example in enumerate(rewrite.EXAMPLES):
        check_example(name, rewrite, example, folder / f"{name}_{index}.onnx")
    check_among_others(name, rewrite, folder / f"{name}.onnx")


def check_declaration(name: str, rewrite: Rewrite) -> None:
    """The docstring has all sections, the tolerance is sane, and there are examples of both kinds."""
    text = rewrite.__doc__ or ""
    missing = [section for section in SECTIONS if section not in text]
    _require(not missing, f"{name}: the docstring lacks {', '.join(missing)}")
    _require(isinstance(rewrite.EXACT, bool), f"{name}: EXACT is not a bool")
    _require(0 <= rewrite.RTOL <= 1e-3 or not rewrite.EXACT, f"{name}: RTOL {rewrite.RTOL} is not exact")
    _require(isinstance(rewrite.ORDER, int), f"{name}: ORDER is not a number")
    allowed_by = rewriting.changes(name)
    _require(allowed_by is None or isinstance(allowed_by, str), f"{name}: INTERFACE is not a name")
    applies = {example.becomes is not None for example in rewrite.EXAMPLES}
    _require(applies == {True, False}, f"{name}: EXAMPLES must show where it applies and where it does not")


def check_example(name: str, rewrite: Rewrite, example: Example, path: Path) -> None:
    """Apply the rewrite to an example and check all that is promised about the result."""
    where = f"{name}, example:\n{example.model}\n"
    original = example_model(example, path)
    outcome = _Outcome.of(name, original)
    if example.becomes is None:
        _require(outcome.count == 0, f"{where}applies, but should not")
        _require(
            _operators(outcome.graph) == _operators(original.ir), f"{where}changed without being applied"
        )
        heard = [refused.reason for refused in outcome.refusals]
        _require(any(example.reason in reason for reason in heard or [""]), f"{where}refused for {heard}")
        return
    _require(outcome.count > 0, f"{where}does not apply: {[r.reason for r in outcome.refusals]}")
    found = _operators(outcome.graph)
    _require(found == example.becomes, f"{where}became {found} instead of {example.becomes}")
    _check_result(where, original, outcome)
    _check_interface(where, name, original, outcome)
    try:
        equivalence.check(original, to_bytes(outcome.graph), [], run, rtol=rewrite.RTOL)
    except RewriteError as error:
        raise AssertionError(f"{where}{error.message}") from error


def check_among_others(name: str, rewrite: Rewrite, path: Path) -> None:
    """It applies to one of its examples beside all usual rewrites, too: else hardly a model would have it."""
    applied: Counter[str] = Counter()
    for example in rewrite.EXAMPLES:
        graph = example_model(example, path)
        tagged = graph.ir.clone()
        tag(tagged, regions(graph))
        done = rewriting.apply(tagged, lambda other, _: other == name or rewriting.is_usual(other))
        applied.update(each.rewrite for each in done)
        if applied[name]:
            return
    raise AssertionError(f"{name}: other rewrites leave nothing to it in its examples: {dict(applied)}")


def example_model(example: Example, path: Path) -> Model:
    """The frozen model of an example."""
    onnx.save_model(onnx.parser.parse_model(example.model), path)
    frozen = freeze(load(path), {})
    interface.annotate(frozen.ir, example.levels)
    return frozen


def run(content: bytes, feeds: Mapping[str, NDArray[np.generic]]) -> Sequence[NDArray[np.generic]]:
    """Run a model with onnxruntime, without optimizations of its own that would hide a mistake."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


@dataclass(frozen=True)
class _Outcome:
    """An example after a rewrite."""

    graph: onnx_ir.Model
    count: int
    applied_again: int
    refusals: list[rewriting.Refused]
    region_names: set[str]

    @classmethod
    def of(cls, name: str, original: Model) -> _Outcome:
        graph = original.ir.clone()
        found = regions(original)
        tag(graph, found)
        refused = [refusal for refusal in rewriting.refusals(graph) if refusal.rewrite == name]
        count = len(rewriting.apply(graph, lambda rewrite, _: rewrite == name))
        again = len(rewriting.apply(graph, lambda rewrite, _: rewrite == name))
        return cls(graph, count, again, refused, {region.name for region in found})


def _check_result(where: str, original: Model, outcome: _Outcome) -> None:
    _require(outcome.applied_again == 0, f"{where}applies a second time to its own result")
    for kind in ("inputs", "outputs"):
        before = [value.name for value in getattr(original.ir.graph, kind)]
        after = [value.name for value in getattr(outcome.graph.graph, kind)]
        _require(before == after, f"{where}changed the names of the {kind}: {before} to {after}")
    names = [node.name for node in outcome.graph.graph]
    _require(all(names) and len(set(names)) == len(names), f"{where}node names are not unique: {names}")
    for node in outcome.graph.graph:
        region = node.metadata_props.get(REGION_TAG)
        _require(region in outcome.region_names, f"{where}{node.name} is in region {region!r}")
    unused = _unused(outcome.graph) - _unused(original.ir)
    _require(not unused, f"{where}left constants behind that nothing reads: {sorted(unused)}")
    untyped = [v.name for v in _computed(outcome.graph) if v.name in _names(original.ir) and v.shape is None]
    _require(not untyped, f"{where}lost the shapes of {untyped}")


def _check_interface(where: str, name: str, original: Model, outcome: _Outcome) -> None:
    """Inputs change only where the rewrite says so, and each change is noted in the file."""
    allowed_by = rewriting.changes(name)
    noted = {change.name: change for change in interface.interface_of(outcome.graph.metadata_props)}
    for spec, value in zip(original.inputs, outcome.graph.graph.inputs, strict=True):
        shape = tuple(value.shape.numpy()) if value.shape is not None else None
        now = (
            value.dtype.numpy().name if value.dtype is not None and spec.dtype != "object" else spec.dtype,
            shape,
        )
        if now == (spec.dtype, spec.shape):
            _require(spec.name not in noted, f"{where}notes a change of {spec} that there is not")
            continue
        _require(allowed_by is not None, f"{where}changed the input {spec} to {now}")
        _require(spec.name in noted, f"{where}changed the input {spec} without noting it")
        change = noted[spec.name]
        _require(change.before == spec, f"{where}notes {change.before} in place of {spec}")
        _require((change.after.dtype, change.after.shape) == now, f"{where}notes {change.after}, it is {now}")
        _require(change.allowed_by == (allowed_by,), f"{where}is allowed by {change.allowed_by}")


def _unused(model: onnx_ir.Model) -> set[str]:
    return {name for name, value in model.graph.initializers.items() if not value.uses()}


def _computed(model: onnx_ir.Model) -> Iterator[onnx_ir.Value]:
    return (output for node in model.graph for output in node.outputs if output.name)


def _names(model: onnx_ir.Model) -> set[str]:
    return {str(value.name) for value in _computed(model)}


def _operators(model: onnx_ir.Model) -> tuple[str, ...]:
    return tuple(node.op_type for node in model.graph)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
