"""Builds candidates: decisions in, a content-addressed file out."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import LITERT, Candidate
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, EdgeoptError, ModelError
from edgeopt.core.interface import Interface
from edgeopt.core.space import SearchSpace
from edgeopt.graph import precision, rewriting
from edgeopt.graph.build_index import BuildIndex
from edgeopt.graph.calibration import Ranges
from edgeopt.graph.interface import interface_of, levels_of
from edgeopt.graph.litert.builder import LiteRtBuilder
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.precision._edit import MARK
from edgeopt.graph.quantizing import Quantizer
from edgeopt.graph.regions import region_of, tag
from edgeopt.graph.serialize import check_supported, needed_ir_version, with_outline
from edgeopt.graph.space import DEFAULT_LEVEL, ON, QUANTIZABLE_OPSET, quantizable
from edgeopt.graph.structure import UNCHANGED
from edgeopt.graph.structuring import Structures, Variant

BUILDER_VERSION = 4
"""Raise it whenever the same decisions give other bytes."""

_KEPT_REWRITTEN = 16

_COMMON = frozenset({
    ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT32,
    ir.DataType.INT64, ir.DataType.BOOL,
})  # fmt: skip


class Builder:
    """Builds the candidates of one frozen model; what was built once is not built again.

    Args:
        model: Frozen.
        space: Of `model`.
        ranges: Calibrated on `model`; None where nothing static is to be built.
        folder: Receives the files (`<sha256>.onnx`) and an index of them.
        max_opset: Newest default operator set that the board's runtime takes.
        max_ir: Newest IR version that it takes.
        unsigned: Write int8 activations as uint8 where a candidate does not decide it, 128 higher: the same
            numbers and the same accuracy, which ONNX Runtime on x86 computes many times faster
            (`wants_unsigned`).
        seven_bits: Write weights that int8 activations are multiplied by in 7 bits (`saturates`).
        statistics: Of `model`; None where no option that needs them is to be built.
        structures: Of `model`; None where its structure is not to be changed.
        litert: Makes what runs on LiteRT; None where nothing is to.

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
        *,
        unsigned: bool = False,
        seven_bits: bool = False,
        statistics: Statistics | None = None,
        structures: Structures | None = None,
        litert: LiteRtBuilder | None = None,
    ) -> None:
        self._model, self._space, self._ranges = model, space, ranges
        self._structures, self._litert = structures, litert
        self._folder = folder.absolute()
        self._max_opset, self._max_ir = max_opset, max_ir
        self._unsigned = unsigned
        self._index = BuildIndex(self._folder)
        self._seven_bits, self._statistics = seven_bits, statistics
        self._quantizer = Quantizer(
            model.ir.graph, ranges, statistics,
            unsigned=unsigned, seven_bits=seven_bits, newest_opset=max_opset,
        )  # fmt: skip
        self._names = {name for region in space.regions for name in region.nodes}
        self._bases: dict[bool, ir.Model] = {}
        self._rewritten: OrderedDict[tuple[bool, str, str], ir.Model | None] = OrderedDict()

    @property
    def structures(self) -> Structures | None:
        """What changes the model's structure; None where it is not to be changed."""
        return self._structures

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
        if candidate.runtime == LITERT:
            return self._for_litert(candidate)
        return self._build(candidate, self.build_key(candidate), named=False)

    def build_named(self, candidate: Candidate) -> Artifact:
        """What to profile in place of `build(candidate)`: the same graph, in which every node has a name.

        It differs for the unchanged candidate only, whose file is the original: that may have nodes without
        names, whose times could not be told apart.

        Raises:
            CandidateFailed: See `build`.
            EdgeoptError: See `build`.
        """
        self._space.validate(candidate)
        changed = _chosen_schemes(candidate) or _enabled(candidate) or restructured(candidate)
        key = self.build_key(candidate)
        return self._build(candidate, key if changed else f"{key}-named", named=True)

    def build_key(self, candidate: Candidate) -> str:
        """Of all that the file's bytes depend on: runtime decisions are not among it."""
        decisions = candidate.of_family("rewrite") | candidate.of_family("precision")
        schemes = _chosen_schemes(candidate)
        needs_statistics = Quantizer.needs_statistics(schemes, candidate)
        if any(precision.scheme(name).STATIC for name in schemes.values()):
            decisions |= candidate.of_family("quantization")
        return value_digest(
            self._model.digest,
            [(spec.name, spec.shape) for spec in self._model.inputs],
            *([repr(made_of)] if (made_of := self._bytes()) else []),
            self._ranges.digest if self._ranges is not None else None,
            BUILDER_VERSION,
            [self._max_opset, self._max_ir, self._unsigned, self._seven_bits],
            self._statistics.digest if needs_statistics and self._statistics is not None else None,
            decisions,
            *self._of_structure(candidate),
        )

    def _for_litert(self, candidate: Candidate) -> Artifact:
        """The rewritten and restructured graph, handed to LiteRT's own tools."""
        if self._litert is None:
            raise CandidateFailed("it runs on LiteRT, and nothing here makes such files")
        kept = [(site, option) for site, option in candidate.decisions if not site.startswith("precision@")]
        variant = self._variant(candidate)
        return self._litert.build(
            candidate,
            self.build_key(replace(candidate, decisions=tuple(kept))),
            lambda: self._rewrite(candidate, for_precision=False, variant=variant),
        )

    def rewritten(self, candidate: Candidate) -> bytes:
        """The model with the candidate's exact rewrites only: what the equivalence check compares.

        Those that are not exact are judged by the accuracy of the whole, and so are changes of structure.

        Raises:
            CandidateFailed: A rewrite failed.
        """
        exact = {
            site: ON
            for site in _enabled(candidate)
            if rewriting.is_exact(site.removeprefix("rewrite:").partition("@")[0])
        }
        return to_bytes(self._rewrite(self._space.candidate(exact), for_precision=False))

    def _build(self, candidate: Candidate, key: str, *, named: bool) -> Artifact:
        built = self._index.find(key)
        if built is None:
            built = self._index.add(key, *self._content(candidate, named))
        if not _chosen_schemes(candidate) and not _enabled(candidate) and not restructured(candidate):
            self._index.pin(built)  # all others are compared with it
        return Artifact(
            candidate_key=candidate.key,
            path=self._index.path(built),
            sha256=built.sha256,
            size_bytes=built.size_bytes,
            session_options=session_options(candidate),
            opset=built.opset,
            ir_version=built.ir_version,
            interface=built.interface,
        )

    def _content(self, candidate: Candidate, named: bool) -> tuple[bytes, int, int, Interface]:
        """The file, its opset, its IR version, and how its inputs differ from the original's."""
        schemes, variant = _chosen_schemes(candidate), self._variant(candidate)
        if not schemes and not _enabled(candidate) and variant is None:
            content = self._model.path.read_bytes()
            fits = self._model.opset <= self._max_opset and self._model.ir_version <= self._max_ir
            if (
                fits and not named and hashlib.sha256(content).hexdigest() == self._model.digest
            ):  # no external data
                return content, self._model.opset, self._model.ir_version, ()
            graph = self._model.ir.clone()
        else:
            graph = self._rewrite(candidate, for_precision=bool(schemes), variant=variant)
            if schemes:
                self._quantizer_of(variant, schemes).quantize(graph.graph, schemes, candidate)
            _drop_annotations(graph.graph)
        try:
            opset, ir_version = graph.graph.opset_imports.get("", 1), needed_ir_version(graph)
            if opset > self._max_opset or ir_version > self._max_ir:
                check_supported(graph, self._max_opset, self._max_ir, "the board's runtime")
            content, outline = with_outline(graph)
            onnx.checker.check_model(outline)
        except (ModelError, onnx.checker.ValidationError) as error:
            raise CandidateFailed(f"the candidate cannot be built: {_first_line(error)}") from error
        return content, opset, ir_version, interface_of(graph.metadata_props)

    def _of_structure(self, candidate: Candidate) -> list[object]:
        """What the changed model follows from."""
        changed = restructured(candidate)
        if not changed or self._structures is None:
            return []
        learnt = [self._structures.needed(changed).digest] if candidate.is_distilled else []
        return [self._structures.digest, changed, *learnt]

    def _variant(self, candidate: Candidate) -> Variant | None:
        """The changed model that a candidate starts from; None for the model itself."""
        changed = restructured(candidate)
        if not changed:
            return None
        if self._structures is None:
            raise CandidateFailed("its structure is changed, and there is no data to make up for that")
        return self._structures.variant(changed, distilled=candidate.is_distilled)

    def _quantizer_of(self, variant: Variant | None, schemes: Mapping[str, str]) -> Quantizer:
        """What quantizes a changed model goes by its own ranges."""
        if variant is None:
            return self._quantizer
        static = any(precision.scheme(name).STATIC for name in schemes.values())
        return Quantizer(
            variant.model.ir.graph, variant.ranges() if static else None, variant.statistics,
            unsigned=self._unsigned, seven_bits=self._seven_bits, newest_opset=self._max_opset,
        )  # fmt: skip

    def _rewrite(
        self, candidate: Candidate, *, for_precision: bool, variant: Variant | None = None
    ) -> ir.Model:
        """A graph of the caller's own, after the candidate's rewrites.

        A set of rewrites that comes a second time is kept from then on: most come once.
        """
        enabled = _enabled(candidate)
        digest = "" if variant is None else variant.model.digest
        key = (for_precision and self._model.opset < QUANTIZABLE_OPSET, value_digest(sorted(enabled)), digest)
        kept = self._rewritten.get(key)
        if kept is not None:
            self._rewritten.move_to_end(key)
            return kept.clone()
        if variant is None:
            graph = self._base(raised=key[0]).clone()
        else:
            graph = variant.model.ir.clone()
            graph = quantizable(graph) if key[0] else graph
        try:
            rewriting.apply(graph, lambda name, region: f"rewrite:{name}@{region}" in enabled)
        except EdgeoptError as error:
            raise CandidateFailed(f"a rewrite failed: {error.message}") from error
        self._name_new_nodes(graph)
        self._rewritten[key] = graph.clone() if key in self._rewritten else None
        if sum(kept is not None for kept in self._rewritten.values()) > _KEPT_REWRITTEN:
            del self._rewritten[next(key for key, kept in self._rewritten.items() if kept is not None)]
        return graph

    def _bytes(self) -> dict[str, object]:
        """Which bytes the inputs' values are made of, where that is known: rewrites write it into graphs."""
        known = {str(value.name): levels_of(value) for value in self._model.ir.graph.inputs}
        return {name: levels for name, levels in known.items() if not isinstance(levels, str)}

    def _base(self, *, raised: bool) -> ir.Model:
        if raised not in self._bases:
            graph = self._model.ir.clone()
            tag(graph, self._space.regions)
            self._bases[raised] = quantizable(graph) if raised else graph
        return self._bases[raised]

    def _name_new_nodes(self, graph: ir.Model) -> None:
        """Names of nodes say their region, because they are all that a runtime's profile tells."""
        for number, node in enumerate(graph.graph):
            if node.name not in self._names:
                node.name = f"{region_of(node)}{MARK}{node.op_type}_{number}"


def wants_unsigned(machine: str) -> bool:
    """Whether int8 activations are written as uint8 for a board whose `uname -m` is `machine`.

    ONNX Runtime on x86 turns int8 pairs into uint8 itself, but not those that several nodes read: around
    every branch it then computes in float32. On ARM int8 is the faster form.
    """
    return machine.lower() in ("x86_64", "amd64", "i386", "i686")


def saturates(machine: str, features: Collection[str]) -> bool:
    """Whether 8-bit weights overflow on a board: ONNX Runtime's products of uint8 and int8 on x86.

    Without VNNI two products are summed in 16 bits (VPMADDUBSW): 2 x 255 x 127 does not fit, 2 x 255 x 63
    (weights of 7 bits) does. Flags that are not known count as missing.

    Args:
        machine: The board's `uname -m`.
        features: Its ISA flags.

    Source: ONNX Runtime, "Quantize ONNX models", on `reduce_range`.
    """
    return wants_unsigned(machine) and not {"avx512_vnni", "avx_vnni"} & set(features)


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


def restructured(candidate: Candidate) -> dict[str, str]:
    """The decisions that change the structure, by site."""
    return {s: option for s, option in candidate.of_family("structure").items() if option != UNCHANGED}


def _drop_annotations(graph: ir.Graph) -> None:
    """Forget types and shapes inside the graph: a runtime infers them, and they can be a tenth of a file.

    Those of uncommon types stay, as they say which IR version the file needs.
    """
    kept = {*graph.inputs, *graph.outputs}
    computed = [value for node in graph for value in node.outputs]
    for value in (*computed, *graph.initializers.values()):
        if value not in kept and value.dtype in _COMMON:
            value.type = value.shape = None


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
