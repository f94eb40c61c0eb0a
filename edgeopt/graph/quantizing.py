"""Writes the precision of a candidate into its graph: schemes by region, and how the static ones quantize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.graph import precision
from edgeopt.graph.calibration import Ranges
from edgeopt.graph.clipping import METHODS
from edgeopt.graph.moments import Statistics
from edgeopt.graph.precision import _arithmetic as arithmetic
from edgeopt.graph.precision import _bytes, _qdq
from edgeopt.graph.precision._edit import Edit, drop_unused
from edgeopt.graph.precision._equalization import Pair, equalize, pairs, range_of
from edgeopt.graph.precision._rounding import METHODS as ROUNDINGS
from edgeopt.graph.precision._rounding import Rounding, reads_of
from edgeopt.graph.precision._weights import Weights
from edgeopt.graph.regions import region_of
from edgeopt.graph.space import ACTIVATIONS, ON, SIGNED, UNSIGNED

_BOUNDED = frozenset({"Softmax", "Sigmoid", "HardSigmoid", "Tanh"})
_MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Identity"})


def bounded(graph: ir.Graph) -> frozenset[str]:
    """Names of tensors whose largest values are no outliers: results of functions that have bounds.

    A few near 1 among many near 0 are what attention is about, however rare they are.
    """
    found: set[str] = set()
    for node in graph:
        moved = node.op_type in _MOVES and node.inputs[0] is not None and node.inputs[0].name in found
        if not node.domain and (moved or node.op_type in _BOUNDED):
            found.update(str(output.name) for output in node.outputs)
    return frozenset(found)


class Quantizer:
    """What the candidates of one model share.

    Args:
        original: The graph before any rewrite; not changed.
        ranges: Calibrated on the model; None where nothing static is to be built.
        statistics: Of the model; None where no option that needs them is to be built.
        unsigned: See `Builder`.
        seven_bits: See `Builder`.
        newest_opset: That the board's runtime takes.
    """

    def __init__(
        self,
        original: ir.Graph,
        ranges: Ranges | None,
        statistics: Statistics | None,
        *,
        unsigned: bool,
        seven_bits: bool,
        newest_opset: int,
    ) -> None:
        self._original, self._ranges, self._statistics = original, ranges, statistics
        self._unsigned, self._newest_opset = unsigned, newest_opset
        self._most = arithmetic.MOST_7_BITS if seven_bits else arithmetic.MOST
        self._by_method: dict[str, Ranges] = {}
        self._weights = Weights()

    def quantize(self, graph: ir.Graph, schemes: Mapping[str, str], candidate: Candidate) -> None:
        """Apply the schemes to the graph, in place.

        Args:
            graph: After the candidate's rewrites; its nodes are tagged with their regions.
            schemes: Region -> scheme, where it is not the unchanged one.

        Raises:
            CandidateFailed: An option needs statistics that there are not, or that cannot be computed.
        """

        def scheme_of(node: ir.Node) -> str:
            return schemes.get(region_of(node), precision.UNCHANGED)

        def is_static(node: ir.Node) -> bool:
            return precision.scheme(scheme_of(node)).STATIC

        ranges = self._clipped(candidate.chosen("quantization:ranges", METHODS[0]) or METHODS[0])
        if ranges is not None:
            _bytes.center(graph, is_static, self._weights)
        if ranges is not None and (known := _bytes.ranges(graph, ranges.by_tensor)):
            ranges = replace(ranges, by_tensor={**ranges.by_tensor, **known})
        rounding = None
        if self.needs_statistics(schemes, candidate):
            method = candidate.chosen("quantization:weights", ROUNDINGS[0]) or ROUNDINGS[0]
            found = pairs(graph, is_static) if candidate.chosen("quantization:equalized") == ON else []
            statistics = self._prepared(graph, method, found)
            divided = equalize(graph, found, self._weights, statistics)
            if ranges is not None and divided:
                scaled = {name: range_of(name, by, statistics) for name, by in divided.items()}
                ranges = replace(ranges, by_tensor={**ranges.by_tensor, **scaled})
            rounding = Rounding(method, statistics, divided)
        default = UNSIGNED if self._unsigned else SIGNED
        edit = Edit(
            graph,
            ranges,
            self._weights,
            scheme_of,
            unsigned=candidate.chosen(ACTIVATIONS, default) == UNSIGNED,
            newest_opset=self._newest_opset,
            most=self._most,
            rounding=rounding,
        )
        for node in tuple(graph):
            chosen = edit.scheme_of(node)
            if chosen != precision.UNCHANGED and node.graph is not None:  # None: merged into another
                precision.scheme(chosen).apply(node, edit)
        _bytes.drop_quantizing(graph)
        drop_unused(graph)

    @staticmethod
    def needs_statistics(schemes: Mapping[str, str], candidate: Candidate) -> bool:
        """Whether more than ranges must be known to build a candidate."""
        static = any(precision.scheme(name).STATIC for name in schemes.values())
        chosen = candidate.chosen("quantization:weights", ROUNDINGS[0]) or ROUNDINGS[0]
        return static and (chosen != ROUNDINGS[0] or candidate.chosen("quantization:equalized") == ON)

    def _prepared(self, graph: ir.Graph, method: str, found: Sequence[Pair]) -> Statistics:
        """The statistics, with all that is known of the original too: so that one pass is mostly enough."""
        if self._statistics is None:
            raise CandidateFailed("its way to quantize needs calibration data, and there is none")
        both = (graph, self._original)
        wanted = (
            [] if method == ROUNDINGS[0] else [reads_of(n) for g in both for n in g if _qdq.has_weight(n)]
        )
        tensors = [name for pair in found for name in pair.tensors]
        if found:
            tensors += [name for pair in pairs(self._original, _qdq.has_weight) for name in pair.tensors]
        try:
            self._statistics.prepare([one for one in wanted if one is not None], tensors)
        except ModelError as error:
            raise CandidateFailed(f"what its layers read cannot be told: {error.message}") from error
        return self._statistics

    def _clipped(self, method: str) -> Ranges | None:
        """The ranges by `method`, computed once."""
        if self._ranges is not None and method not in self._by_method:
            self._by_method[method] = self._ranges.clipped(method, bounded(self._original))
        return self._by_method.get(method)
