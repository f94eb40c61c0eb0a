"""What can be decided about a model: its rewrites, the precision of its regions, how the runtime runs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgeopt.core.candidate import DISTILLED, LITERT, ONNXRUNTIME, RECOVERY, REFITTED, RUNTIME
from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.graph import precision, rewriting
from edgeopt.graph.clipping import METHODS
from edgeopt.graph.litert import recipes
from edgeopt.graph.model import Model, at_least_opset
from edgeopt.graph.precision._rounding import METHODS as ROUNDINGS
from edgeopt.graph.regions import region_of, regions, tag
from edgeopt.graph.structuring import structure_points

QUANTIZABLE_OPSET = 13
"""From here on DequantizeLinear has a scale per channel."""

OFF, ON = "off", "on"
ACTIVATIONS, SIGNED, UNSIGNED = "quantization:activations", "signed", "unsigned"
LEVELS = ("basic", "extended", "all")
DEFAULT_LEVEL = "all"


def search_space(
    model: Model,
    *,
    lossy: bool,
    cores: int,
    fast_cores: int | None = None,
    structure: bool = False,
    unsigned: bool = False,
    interface: Collection[str] = (),
    runtimes: tuple[str, ...] = (ONNXRUNTIME,),
    beside: tuple[str, ...] = (),
) -> SearchSpace:
    """The decision points of a frozen model, in topological order of their regions.

    Args:
        lossy: Whether there is data to judge lossy decisions by; without, only exact rewrites and runtime
            settings are offered.
        cores: Of the board.
        fast_cores: Of a board with slow ones beside them: as many threads are the default.
        structure: Whether changes of structure are offered, if there is data to judge them by.
        unsigned: Whether the board wants unsigned activations (`builder.wants_unsigned`).
        interface: What of the inputs may change (`--allow-interface`).
        runtimes: On which candidates may run, the default first. Where it is ONNX Runtime alone, nothing is
            decided about it.
        beside: Others on which references are measured, and no candidates.

    Returns:
        Per region how its structure can be changed, its applicable rewrites, then its precision (only where
        some scheme applies); then how static schemes quantize, last the runtime's settings. Where there is a
        choice of runtimes it comes first, and what the others do not have is marked (`DecisionPoint.only`).
    """
    found = regions(model)
    applicable = rewriting.applicable(model, found, interface)
    rewrites = applicable.counts
    tagged = model.ir.clone()
    tag(tagged, found)
    graphs = (quantizable(tagged), quantizable(applicable.rewritten)) if lossy else ()
    schemes = applicable_schemes(graphs, found)
    changes = structure_points(model, found) if structure and lossy else {}
    points: list[DecisionPoint] = []
    for region in found:
        points += changes.get(region.name, [])
        for name in sorted(rewrites):
            if rewrites[name].get(region.name) and (lossy or rewriting.is_exact(name)):
                points.append(DecisionPoint(f"rewrite:{name}@{region.name}", (OFF, ON), OFF))
        offered = {
            ONNXRUNTIME: schemes.get(region.name, ()),
            LITERT: recipes.applicable(region.op_types) if lossy and not model.is_quantized else (),
        }
        if options := tuple(dict.fromkeys(name for runtime in runtimes for name in offered[runtime])):
            all_options = (precision.UNCHANGED, *options)
            only = tuple((runtime, (precision.UNCHANGED, *offered[runtime])) for runtime in runtimes)
            points.append(DecisionPoint(f"precision@{region.name}", all_options, precision.UNCHANGED, only))
    points += quantization_points(schemes, unsigned=unsigned)
    points += runtime_points(cores, fast_cores)
    withheld: tuple[DecisionPoint, ...] = ()
    if any(changes.values()):
        withheld = (DecisionPoint(RECOVERY, (REFITTED, DISTILLED), REFITTED),)
    if runtimes == (ONNXRUNTIME,):
        points = [replace(point, only=()) for point in points]
        if beside:
            withheld += (DecisionPoint(RUNTIME, (ONNXRUNTIME, *beside), ONNXRUNTIME),)
        return SearchSpace(model.digest, tuple(points), found, withheld)
    points = [
        *map(_with_litert, points),
        DecisionPoint("runtime:xnnpack", ("1", "0"), "1", NOT_OF_ONNXRUNTIME),
    ]
    space = SearchSpace(
        model.digest, (DecisionPoint(RUNTIME, (ONNXRUNTIME, LITERT), runtimes[0]), *points), found, withheld
    )
    return space if len(runtimes) > 1 else _decided(space.under(*runtimes))


NOT_OF_ONNXRUNTIME = ((ONNXRUNTIME, ("1",)),)
"""Of a setting that only LiteRT has."""


def _with_litert(point: DecisionPoint) -> DecisionPoint:
    """A point of ONNX Runtime's, marked where LiteRT has nothing of the kind."""
    is_foreign = (
        point.family == "quantization"
        or point.site in _ONLY_ONNXRUNTIME
        or (
            point.family == "rewrite"
            and (point.name in recipes.REWRITES_TO_FOREIGN_OPERATORS or rewriting.changes(str(point.name)))
        )
    )
    return replace(point, only=((LITERT, (point.default,)),)) if is_foreign else point


def _decided(space: SearchSpace) -> SearchSpace:
    """Without the points at which nothing is left to decide; which runtime it is stays said."""
    kept = (point for point in space.points if len(point.options) > 1 or point.family == "runtime")
    return replace(space, points=tuple(p for p in kept if p.site not in _ONLY_ONNXRUNTIME))


_ONLY_ONNXRUNTIME = ("runtime:graph_optimization_level", "runtime:allow_spinning")


def quantization_points(schemes: Mapping[str, Sequence[str]], *, unsigned: bool) -> tuple[DecisionPoint, ...]:
    """How static schemes quantize, decided once for the whole model: by region it would multiply the space.

    Args:
        schemes: Those that apply, by region.
        unsigned: Whether the board wants unsigned activations, and nothing is to be decided.
    """
    if not any(precision.scheme(name).STATIC for names in schemes.values() for name in names):
        return ()
    points = (
        DecisionPoint("quantization:ranges", METHODS, METHODS[0]),
        DecisionPoint("quantization:weights", ROUNDINGS, ROUNDINGS[0]),
        DecisionPoint("quantization:equalized", (OFF, ON), OFF),
    )
    # On x86 the runtime has kernels of uint8 only: int8 becomes uint8 when it is loaded, or stays float32.
    return points if unsigned else (*points, DecisionPoint(ACTIVATIONS, (SIGNED, UNSIGNED), SIGNED))


def runtime_points(cores: int, fast_cores: int | None = None) -> tuple[DecisionPoint, ...]:
    """Threads (powers of two, all fast cores, all cores), graph optimization level, spinning.

    All threads wait for the slowest, so those on slow cores hold the others up: the default is as many
    threads as there are fast cores.
    """
    fast = min(fast_cores or cores, cores)
    powers = [2**power for power in range(cores.bit_length())]
    threads = [str(n) for n in sorted({*(n for n in powers if n < cores), fast, cores})]
    return (
        DecisionPoint("runtime:threads", tuple(threads), str(fast)),
        DecisionPoint("runtime:graph_optimization_level", LEVELS, DEFAULT_LEVEL),
        DecisionPoint("runtime:allow_spinning", ("0", "1"), "1"),
    )


def quantizable(model: ir.Model) -> ir.Model:
    """The graph that precision schemes start from: raised to opset 13 where it can be, else as it is.

    Args:
        model: Tagged with its regions.
    """
    return at_least_opset(model, QUANTIZABLE_OPSET)


def applicable_schemes(graphs: Sequence[ir.Model], found: Sequence[Region]) -> Mapping[str, tuple[str, ...]]:
    """The schemes that change something in each region, besides leaving it; regions without any are left out.

    What is quantized already has none.

    Args:
        graphs: Tagged: the model, and what rewrites make of it. They may give a region weights that it has
            not got: an LSTM where there was the end of a loop.
    """
    nodes: dict[str, list[ir.Node]] = {}
    for graph in graphs:
        for node in graph.graph:
            nodes.setdefault(region_of(node), []).append(node)
    options: dict[str, tuple[str, ...]] = {}
    for region in found:
        members = nodes.get(region.name, [])
        names = tuple(
            name
            for name in precision.names()
            if name != precision.UNCHANGED and any(precision.scheme(name).applies(node) for node in members)
        )
        if names and not any(is_quantized(node) for node in members):
            options[region.name] = names
    return options


def is_quantized(node: ir.Node) -> bool:
    """True for operators that compute with, from or to integers that stand for reals."""
    return "Quantize" in node.op_type or "QLinear" in node.op_type or node.op_type in _INTEGER_OPS


_INTEGER_OPS = frozenset({
    "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm", "QMoE",
    "GatherBlockQuantized", "MatMulBnb4", "QEmbedLayerNormalization", "QOrderedMatMul",
})  # fmt: skip
