"""Builds the candidates that run on LiteRT: one float file for each changed graph, then its recipes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import onnx_ir as ir

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import LITERT, Candidate
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.region import Region
from edgeopt.core.space import SearchSpace
from edgeopt.graph.litert.export import Ports, export_graph
from edgeopt.graph.litert.interface import Feeds
from edgeopt.graph.litert.made import Made
from edgeopt.graph.litert.quantize import EVERYTHING, Samples, quantize
from edgeopt.graph.litert.recipes import UNCHANGED
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import spec
from edgeopt.graph.regions import region_of
from edgeopt.graph.serialize import to_bytes


class LiteRtBuilder:
    """Turns graphs into LiteRT files; what was made once is not made again, and what failed fails again.

    Args:
        space: Of the model.
        worker: The conversion tools.
        folder: Receives the files (`<sha256>.tflite`) and the tools' logs.
        part: What static recipes are calibrated on.
        samples: A few real inputs: the float file is compared with the graph on them.
        fixed: Inputs that only take certain values.
    """

    def __init__(
        self,
        space: SearchSpace,
        worker: Worker,
        folder: Path,
        part: Samples,
        samples: Callable[[], Iterable[Feeds]],
        fixed: Feeds,
    ) -> None:
        self._space, self._worker, self._folder, self._part = space, worker, folder, part
        self._samples, self._fixed = samples, fixed
        self._made: dict[str, Made | CandidateFailed] = {}

    def build(self, candidate: Candidate, digest: str, graph: Callable[[], ir.Model]) -> Artifact:
        """The artifact of a candidate.

        Args:
            digest: Of all that the graph depends on.
            graph: Makes the model with all decisions but the precision; a copy of the caller's own, its nodes
                tagged with their regions.

        Raises:
            CandidateFailed: It does not convert or quantize, the file computes something else, or it would be
                fed or read otherwise than the model.
            EdgeoptError: The tools cannot be used, or there is no disk.
        """
        exported = self._exported(digest, graph)
        schemes = chosen(candidate)
        made = exported
        if schemes:
            recipes = self._recipes(schemes, exported)
            made = quantize(exported, recipes, self._part, self._worker, self._folder)
        return Artifact(
            candidate_key=candidate.key,
            path=made.path,
            sha256=made.sha256,
            size_bytes=made.size_bytes,
            runtime=LITERT,
            session_options=session_options(candidate),
        )

    def _exported(self, digest: str, graph: Callable[[], ir.Model]) -> Made:
        """The float file. A graph that does not convert is not converted again for each of its recipes."""
        if digest not in self._made:
            try:
                self._made[digest] = self._export(digest, graph())
            except (CandidateFailed, ModelError) as error:
                self._made[digest] = CandidateFailed(error.message, hint=error.hint)
        made = self._made[digest]
        if isinstance(made, CandidateFailed):
            raise made
        return made if made.path.is_file() else self._export(digest, graph())

    def _export(self, digest: str, graph: ir.Model) -> Made:
        names = labelled(graph.graph, self._space.regions)
        ports = Ports(list(map(spec, graph.graph.inputs)), list(map(spec, graph.graph.outputs)))
        try:
            made = export_graph(
                lambda: to_bytes(graph), ports, digest, self._worker, self._folder,
                samples=self._samples(), fixed=self._fixed,
            )  # fmt: skip
        except CandidateFailed as error:  # the user knows the nodes by other names
            said = re.sub(
                r"edgeopt_r\w+?_p(?:\d+|x)", lambda known: names.get(known[0], known[0]), error.message
            )
            raise CandidateFailed(said, hint=error.hint) from error
        if made.interface.changes:
            raise CandidateFailed(f"the LiteRT file changes the interface: {made.interface.changes[0]}")
        return made

    def _recipes(self, schemes: Mapping[str, str], exported: Made) -> dict[str, str]:
        """Patterns of operators' outputs, and how they are quantized: everything at once where every region
        that has a recipe chose it, as the well-known tools make it, with what belongs to no region."""
        offering = {
            point.region: point.offered(LITERT)
            for point in self._space.points
            if point.family == "precision" and point.region is not None
        }
        if len(names := set(schemes.values())) == 1:
            (name,) = names
            if schemes.keys() == {region for region, options in offering.items() if name in options}:
                return {EVERYTHING: name}
        outputs = {port.name for port in exported.interface.outputs}
        return {
            found: recipe
            for number, region in enumerate(self._space.regions)
            if (recipe := schemes.get(region.name)) is not None
            for found in (_of_region(number), *map(_whole, outputs & set(region.outputs)))
        }


def chosen(candidate: Candidate) -> dict[str, str]:
    """The recipe of every region that is not left in float32."""
    precisions = candidate.of_family("precision").items()
    return {site.partition("@")[2]: name for site, name in precisions if name != UNCHANGED}


def session_options(candidate: Candidate) -> dict[str, object]:
    """What the candidate's runtime decisions mean to `runtimes.litert`."""
    return {
        "threads": int(candidate.chosen("runtime:threads") or 0),
        "xnnpack": candidate.chosen("runtime:xnnpack") != "0",
    }


def labelled(graph: ir.Graph, regions: Iterable[Region]) -> dict[str, str]:
    """Name nodes and what they compute after their regions, in place: names are all that is left of regions
    in a LiteRT file. Outputs of the graph keep theirs.

    The converter calls a tensor as ONNX does, or after the node that computes it (`NODE_output_nhwc`), or
    after one that reads it (`NODE_input_nhwc`): so a node's name also tells the region of its first input.

    Returns:
        The names that the nodes had, by those that they have now.
    """
    numbers = {region.name: number for number, region in enumerate(regions)}
    names = {}
    for count, node in enumerate(graph):
        producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        own, read = (numbers.get(region_of(one), "x") if one is not None else "x" for one in (node, producer))
        known, node.name = node.name, f"edgeopt_r{own}_{count}_p{read}"
        names[node.name] = str(known)
        for value in node.outputs:
            if value.name and not value.is_graph_output():
                value.name = f"edgeopt_r{own}_{count}_v{value.index()}"
    return names


def _of_region(number: int) -> str:
    """Finds the names of the tensors that a region computes: see `labelled`."""
    by_itself, by_producer = rf"edgeopt_r{number}_\d+_v\d", rf"edgeopt_r{number}_\d+_p(\d+|x)_output"
    return rf"(^|;)({by_itself}|{by_producer}|edgeopt_r(\d+|x)_\d+_p{number}_input)"


def _whole(name: str) -> str:
    return f"(^|;){re.escape(name)}(_|;|$)"
