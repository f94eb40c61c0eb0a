"""Builds candidates: decisions in, a content-addressed file out."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, EdgeoptError, ModelError
from edgeopt.core.files import write_atomically
from edgeopt.core.space import SearchSpace
from edgeopt.graph import precision, rewriting
from edgeopt.graph.build_index import BuildIndex, Built
from edgeopt.graph.calibration import Ranges
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.precision._edit import MARK, Edit, drop_unused
from edgeopt.graph.precision._weights import Weights
from edgeopt.graph.regions import region_of, tag
from edgeopt.graph.serialize import check_supported, needed_ir_version
from edgeopt.graph.space import DEFAULT_LEVEL, ON, quantizable

BUILDER_VERSION = 1
"""Raise it whenever the same decisions give other bytes."""

_KEPT_REWRITTEN = 16


class Builder:
    """Builds the candidates of one frozen model; what was built once is not built again.

    Args:
        model: Frozen.
        space: Of `model`.
        ranges: Calibrated on `model`; None where nothing static is to be built.
        folder: Receives the files (`<sha256>.onnx`) and an index of them.
        max_opset: Newest default operator set that the board's runtime takes.
        max_ir: Newest IR version that it takes.

    Raises:
        EdgeoptError: `folder` cannot be made or read.
    """

    def __init__(
        self,
        model: Model,
        space: SearchSpace,
        ranges: Ranges | None,
        folder: Path,
        max_opset: int,
        max_ir: int,
    ) -> None:
        self._model, self._space, self._ranges = model, space, ranges
        self._folder = folder.absolute()
        self._max_opset, self._max_ir = max_opset, max_ir
        self._index = BuildIndex(self._folder)
        self._weights = Weights()
        self._names = {name for region in space.regions for name in region.nodes}
        self._bases: dict[bool, ir.Model] = {}
        self._rewritten: OrderedDict[tuple[bool, frozenset[str]], ir.Model] = OrderedDict()

    def build(self, candidate: Candidate) -> Artifact:
        """The artifact of a candidate.

        The candidate that changes nothing in the graph is the original file, byte for byte, unless that has
        external data or is newer than the runtime takes: then it is the same graph in one file, at the
        lowest versions.

        Raises:
            ConfigError: The candidate is not of this space.
            CandidateFailed: It cannot be built, or needs a newer runtime; the message says why.
            EdgeoptError: The file cannot be written (disk full, permission); nothing is left behind.
        """
        self._space.validate(candidate)
        key = self.build_key(candidate)
        built = self._index.find(key)
        if built is None:
            content, opset, ir_version = self._content(candidate)
            built = Built(hashlib.sha256(content).hexdigest(), len(content), opset, ir_version)
            if not self._index.has_file(built):
                write_atomically(self._index.path(built), content)
            self._index.add(key, built)
        return Artifact(
            candidate_key=candidate.key,
            path=self._index.path(built),
            sha256=built.sha256,
            size_bytes=built.size_bytes,
            session_options=session_options(candidate),
            opset=built.opset,
            ir_version=built.ir_version,
        )

    def build_key(self, candidate: Candidate) -> str:
        """Of all that the file's bytes depend on: runtime decisions are not among it."""
        decisions = candidate.of_family("rewrite") | candidate.of_family("precision")
        return value_digest(
            self._model.digest,
            [(spec.name, spec.shape) for spec in self._model.inputs],
            self._ranges.digest if self._ranges is not None else None,
            BUILDER_VERSION,
            [self._max_opset, self._max_ir],
            decisions,
        )

    def rewritten(self, candidate: Candidate) -> bytes:
        """The model with the candidate's rewrites only: what the equivalence check compares.

        Raises:
            CandidateFailed: A rewrite failed.
        """
        return to_bytes(self._rewrite(candidate, for_precision=False))

    def _content(self, candidate: Candidate) -> tuple[bytes, int, int]:
        """The file, its opset and its IR version."""
        schemes = _chosen_schemes(candidate)
        if not schemes and not _enabled(candidate):
            content = self._model.path.read_bytes()
            fits = self._model.opset <= self._max_opset and self._model.ir_version <= self._max_ir
            if fits and hashlib.sha256(content).hexdigest() == self._model.digest:  # no external data
                return content, self._model.opset, self._model.ir_version
            graph = self._model.ir
        else:
            graph = self._rewrite(candidate, for_precision=bool(schemes))
            if schemes:
                graph = self._quantize(graph, schemes)
        try:
            check_supported(graph, self._max_opset, self._max_ir, "the board's runtime")
            content = to_bytes(graph)
            onnx.checker.check_model(content)
        except (ModelError, onnx.checker.ValidationError) as error:
            raise CandidateFailed(f"the candidate cannot be built: {_first_line(error)}") from error
        return content, graph.graph.opset_imports.get("", 1), needed_ir_version(graph)

    def _rewrite(self, candidate: Candidate, *, for_precision: bool) -> ir.Model:
        """The graph after the candidate's rewrites; shared, so to be cloned before it is changed."""
        enabled = _enabled(candidate)
        key = (for_precision, enabled)
        if key in self._rewritten:
            self._rewritten.move_to_end(key)
            return self._rewritten[key]
        graph = self._base(for_precision).clone()
        try:
            rewriting.apply(graph, lambda name, region: f"rewrite:{name}@{region}" in enabled)
        except EdgeoptError as error:
            raise CandidateFailed(f"a rewrite failed: {error.message}") from error
        self._name_new_nodes(graph)
        self._rewritten[key] = graph
        if len(self._rewritten) > _KEPT_REWRITTEN:
            self._rewritten.popitem(last=False)
        return graph

    def _base(self, for_precision: bool) -> ir.Model:
        if for_precision not in self._bases:
            graph = self._model.ir.clone()
            tag(graph, self._space.regions)
            self._bases[for_precision] = quantizable(graph) if for_precision else graph
        return self._bases[for_precision]

    def _name_new_nodes(self, graph: ir.Model) -> None:
        """Names of nodes say their region, because they are all that a runtime's profile tells."""
        for number, node in enumerate(graph.graph):
            if node.name not in self._names:
                node.name = f"{region_of(node)}{MARK}{node.op_type}_{number}"

    def _quantize(self, rewritten: ir.Model, schemes: dict[str, str]) -> ir.Model:
        graph = rewritten.clone()
        edit = Edit(
            graph.graph, self._ranges, self._weights, lambda n: schemes.get(region_of(n), precision.UNCHANGED)
        )
        for node in tuple(graph.graph):
            chosen = edit.scheme_of(node)
            if chosen != precision.UNCHANGED and node.graph is not None:  # None: merged into another
                precision.scheme(chosen).apply(node, edit)
        drop_unused(graph.graph)
        return graph


def session_options(candidate: Candidate) -> dict[str, object]:
    """What the candidate's runtime decisions mean to `runtimes.onnxruntime`."""
    threads, level, spinning = (
        candidate.chosen(f"runtime:{name}")
        for name in ("threads", "graph_optimization_level", "allow_spinning")
    )
    return {
        "threads": int(threads or 0),
        "graph_optimization_level": level or DEFAULT_LEVEL,
        "allow_spinning": spinning != "0",
    }


def _enabled(candidate: Candidate) -> frozenset[str]:
    return frozenset(site for site, option in candidate.of_family("rewrite").items() if option == ON)


def _chosen_schemes(candidate: Candidate) -> dict[str, str]:
    """The scheme of every region that is not left as it is."""
    return {
        site.partition("@")[2]: option
        for site, option in candidate.of_family("precision").items()
        if option != precision.UNCHANGED
    }


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
