"""The conformance suite of structure changes: what every file in `edgeopt/graph/structure` must keep to.

A package that brings changes of its own runs the same suite over them::

    @pytest.mark.parametrize(("name", "index"), structure.cases())
    def test_change_conforms(name, index, tmp_path):
        structure.check_example(name, index, tmp_path)

Each check raises `ConformanceError` with a message that says which example broke which promise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgeopt.core.space import SearchSpace
from edgeopt.graph import structure
from edgeopt.graph.flops import node_flops, sizes
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.regions import regions
from edgeopt.graph.shapes import infer
from edgeopt.graph.structure import UNCHANGED, Change, Site
from edgeopt.graph.structure._knowledge import Knowledge, prepared
from edgeopt.graph.structuring import Structures
from edgeopt.testing.precision import Bench, ConformanceError, RandomSamples, check_mixes, example

__all__ = ["ConformanceError", "cases", "check_example"]

SECTIONS = ("Before:", "After:", "Does not apply when:", "Source:")
"""What the docstring of a change's file must say, after its first line."""

SAMPLES, MIXES = 24, 5

NUMBERS_BYTES = 64
"""Of weights that a change may add at a site: sizes and bounds, not weights of layers."""

NO_WORSE = 1.02
"""Times the error without refitting that refitting may leave: it is done layer by layer, on half the samples
each time, and so promises something of layers, not of outputs."""


def cases() -> list[tuple[str, int]]:
    """Every change with the number of each of its examples."""
    found = {name: structure.change(name) for name in structure.names()}
    return [(name, index) for name, change in found.items() for index in range(len(change.EXAMPLES))]


def check_example(name: str, index: int, folder: Path) -> None:
    """Hold a change to its promises on one of its examples.

    Raises:
        ConformanceError: A promise is broken.
        EdgeoptError: A candidate cannot be built, loaded or run.
    """
    change, where = structure.change(name), f"{name}, example {index}"
    missing = [section for section in SECTIONS if section not in (change.__doc__ or "")]
    _require(not missing, f"{name}: the docstring lacks {', '.join(missing)}")
    model = example(change.EXAMPLES[index], folder)
    found = regions(model)
    samples = RandomSamples(model, SAMPLES)
    statistics = Statistics(model, samples)
    graph = prepared(model, found)
    sites = change.sites(graph)
    _require(bool(sites), f"{where}: it applies nowhere")
    _require(list(sites) == list(change.sites(prepared(model, found))), f"{where}: sites vary")
    _require(len({site.region for site in sites}) == len(sites), f"{where}: two sites in one region")
    for site in sites:
        known = Knowledge(graph, statistics)
        _check_site(f"{where}, {site.region}", change, graph, site, known)
    _check_refitting(where, model, name, sites[0], Structures(model, found, samples, statistics))
    _check_composed(where, name, model, folder)


def _check_site(where: str, change: Change, graph: ir.Model, site: Site, known: Knowledge) -> None:
    _require(
        site.options[0] == UNCHANGED and len(site.options) > 1, f"{where}: its options are {site.options}"
    )
    before, flops, size = to_bytes(graph), _flops(graph), _weight_bytes(graph)
    for option in site.options:
        changed = change.apply(graph, site.region, option, known)
        content = to_bytes(changed)
        _require(to_bytes(graph) == before, f"{where}, {option}: the given model was changed")
        again = change.apply(graph, site.region, option, known)
        _require(to_bytes(again) == content, f"{where}, {option}: it does not give the same twice")
        if option == UNCHANGED:
            _require(content == before, f"{where}: the unchanged option changes something")
            continue
        onnx.checker.check_model(content)
        _check_shapes(f"{where}, {option}", changed)
        _require(_interface(changed) == _interface(graph), f"{where}, {option}: inputs or outputs differ")
        _require(_flops(changed) < flops, f"{where}, {option}: no fewer operations than the option before")
        _require(_weight_bytes(changed) <= size + NUMBERS_BYTES, f"{where}, {option}: more bytes of weights")
        flops, size = _flops(changed), min(size, _weight_bytes(changed))


def _check_shapes(where: str, changed: ir.Model) -> None:
    """The shapes that a change leaves are those that follow from the inputs."""
    fresh = changed.clone()
    outputs = set(fresh.graph.outputs)
    for value in (output for node in fresh.graph for output in node.outputs if output not in outputs):
        value.shape = None
    infer(fresh, strict=True)
    found = {value.name: sizes(value) for node in fresh.graph for value in node.outputs}
    for value in (output for node in changed.graph for output in node.outputs):
        noted = sizes(value)
        _require(
            noted in (None, found[value.name]), f"{where}: {value.name} is {found[value.name]}, not {noted}"
        )


def _check_refitting(where: str, model: Model, name: str, site: Site, made: Structures) -> None:
    """Refitted layers make up for some of what a change costs, on the samples that they are refitted on."""
    from edgeopt.runtimes.onnxruntime import Session

    decided = {f"structure:{name}@{site.region}": site.options[-1]}
    errors = []
    for refitted in (False, True):
        variant = made.variant(decided, refitted=refitted)
        original, changed = (Session(to_bytes(one.ir)) for one in (model, variant.model))
        error = energy = 0.0
        for feeds in RandomSamples(model, SAMPLES).samples():
            for found, expected in zip(changed.run(feeds), original.run(feeds), strict=True):
                error += float(((found.astype(np.float64) - expected) ** 2).sum())
                energy += float((expected.astype(np.float64) ** 2).sum())
        errors.append(error / max(energy, 1e-12))
    _require(bool(np.isfinite(errors).all()), f"{where}: its outputs are not finite")
    _require(errors[1] <= NO_WORSE * errors[0] + 1e-9, f"{where}: refitted it is worse, {errors}")


def _check_composed(where: str, name: str, model: Model, folder: Path) -> None:
    """With any other change, all exact rewrites and every precision scheme, it builds and runs."""
    bench = Bench.of(model, folder, structure=True)
    sites = [point for point in bench.space.points if point.family == "structure" and point.name == name]
    _require(bool(sites), f"{where}: the search space does not offer it")
    default, _ = bench.space.default(), check_mixes(bench, MIXES, seed=len(sites))
    _require(
        bench.builder.build(default).sha256 == model.digest, f"{where}: the default is not the file itself"
    )
    _check_default(where, bench.space)


def _check_default(where: str, space: SearchSpace) -> None:
    for point in space.points:
        if point.family == "structure":
            _require(point.default == UNCHANGED, f"{where}: {point.site} changes something by default")


def _interface(model: ir.Model) -> list[tuple[str | None, object, object]]:
    return [(value.name, value.dtype, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]


def _flops(model: ir.Model) -> int:
    return sum(node_flops(node) or 0 for node in model.graph)


def _weight_bytes(model: ir.Model) -> int:
    constants = model.graph.initializers.values()
    return sum(value.const_value.nbytes for value in constants if value.const_value is not None)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConformanceError(message)
