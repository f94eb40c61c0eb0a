"""Measures models as they are, without a search. The first is the control that others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt.boards import profiles
from edgeopt.boards.board import Board, Feeds, require_threads
from edgeopt.boards.conditions import pinned_cores
from edgeopt.boards.connect import connect
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.patience import patiently
from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CandidateFailed, ConfigError
from edgeopt.core.interface import Interface
from edgeopt.core.measurement import Measurement
from edgeopt.core.progress import Observer
from edgeopt.core.scratch import scratch
from edgeopt.core.tensor import TensorSpec
from edgeopt.core.trial import Trial
from edgeopt.options import DataOptions, MeasureOptions
from edgeopt.report.comparing import comparisons
from edgeopt.report.context import described
from edgeopt.report.document import trial_document
from edgeopt.report.spread import intervals
from edgeopt.runtimes import litert

if TYPE_CHECKING:
    from edgeopt.graph.litert.files import LiteRtModel
    from edgeopt.graph.model import Model

PROFILE_RUNS = 50
"""Profiled inferences per model: the profiler's own cost is spread, and a region's mean settles."""


Ready = Callable[[Board, Mapping[str, Artifact]], None]
"""Is told the board and the artifacts by name, before anything is measured; may raise."""


def measure(
    options: MeasureOptions, observer: Observer | None = None, ready: Ready | None = None
) -> dict[str, Any]:
    """Measure models in turns on one board.

    Returns:
        `{"device", "board", "provenance", "system", "effort", "setting", "pairwise_error",
        "measurements": [T…], "comparisons": […]}`; `setting` is the conditions in full; each T has
        `intervals` (95 %, by figure), `processes` (how many count; None if it was not measured),
        `failure` (the kind of error of a model that did not run) and `regions`
        (`[{"region", "operators", "ms"}…]`; None if not asked for). A model that the board cannot run
        is FAILED, with its reason.

    Raises:
        ConfigError: The models do not take the same inputs, or the board is unknown.
        ModelError: A model cannot be loaded, or leaves a shape open.
        DataError: The data does not fit.
        BoardError: The board cannot serve.
    """
    from edgeopt.graph.workload import workload

    watching = observer or Observer()
    profile = profiles.load(options.board.device)
    options = replace(options, threads=options.threads or profiles.fast_cores(profile))
    models, feeds = prepared(options)
    connected = connect(
        profile, options.board.board, Inventory.load(), workload, options.board.require, watching,
        options.board.pause_s, options.board.off_s,
    )  # fmt: skip
    with scratch() as folder, connected.board as board:
        require_threads(options.threads, board.facts.cores, board.name)
        artifacts = [artifact_of(model, folder, options) for model in models]
        if options.by_region and any(artifact.runtime == litert.NAME for artifact in artifacts):
            watching.announce("LiteRT does not tell the times of single operators: no regions of its models")
        names = names_of(options.models)
        if ready:
            ready(board, dict(zip(names, artifacts, strict=True)))
        watching.stage("measuring", len(artifacts))
        pinned_cores(options.setting, board)
        protocol = profiles.protocols(profile, options.effort, options.setting)["final"]
        results = patiently(
            lambda: board.measure(artifacts, feeds, protocol), board.name, options.board.off_s, watching
        )
        rows = [
            _row(number, name, model, artifact, result)
            for number, (name, model, artifact, result) in enumerate(
                zip(names, models, artifacts, results, strict=True)
            )
        ]
        for row, model, result in zip(rows, models, results, strict=True):
            wanted = options.by_region and isinstance(result, Measurement)
            row["regions"] = _by_region(board, model, feeds, folder, options) if wanted else None
    return {
        "device": board.device,
        "board": board.name,
        "provenance": board.provenance,
        "system": {
            "runtimes": dict(board.facts.runtimes),
            "kernel": board.facts.kernel,
            "governor": board.facts.governor,
        },
        "effort": options.effort,
        "setting": str(options.setting),
        "pairwise_error": board.pairwise_error,
        "measurements": rows,
        "comparisons": comparisons(names, results, board.pairwise_error),
    }


def prepared(options: MeasureOptions) -> tuple[list[Model | LiteRtModel], Feeds]:
    """All models with settled shapes, and the inputs that they share."""
    from edgeopt.graph.equivalence import random_feeds

    loaded = [_loaded(path) for path in options.models]
    _check_alike(loaded, lambda spec: spec.name)
    feeds = _real_feeds(given(loaded[0]), options.data)
    shapes = dict(options.data.shapes)
    if feeds is not None:
        shapes |= {name: value.shape for name, value in feeds.items()}
    frozen = [_frozen(model, shapes) for model in loaded]
    _check_alike(frozen, lambda spec: (spec.name, spec.dtype, spec.shape))
    if feeds is None:
        inputs, made_of = given(frozen[0]), {}
        for change in (change for model in frozen for change in interface_of(model)):
            if change.levels is not None:
                made_of[change.name] = change.levels
        feeds = {**next(iter(random_feeds(inputs, 1, options.seed, made_of))), **_fixed(inputs, options.data)}
    return frozen, feeds


def interface_of(model: Model | LiteRtModel) -> Interface:
    """How a model's inputs differ from those of the model that `optimize` made it from."""
    from edgeopt.graph import interface
    from edgeopt.graph.litert.files import LiteRtModel

    return () if isinstance(model, LiteRtModel) else interface.interface_of(model.ir.metadata_props)


def given(model: Model | LiteRtModel) -> tuple[TensorSpec, ...]:
    """The inputs in whose terms data speak: the original's, where a file says that they were changed."""
    from edgeopt.graph import interface

    return interface.originals(model.inputs, interface_of(model))


def _loaded(path: Path) -> Model | LiteRtModel:
    from edgeopt.graph.litert import files
    from edgeopt.graph.model import load

    return files.load(path) if path.suffix.lower() == files.SUFFIX else load(path)


def _frozen(model: Model | LiteRtModel, shapes: Mapping[str, tuple[int, ...]]) -> Model | LiteRtModel:
    from edgeopt.graph.freeze import freeze
    from edgeopt.graph.litert import files

    if isinstance(model, files.LiteRtModel):
        return files.freeze(model, shapes)
    orders = {change.name: change.order for change in interface_of(model) if change.order is not None}
    own = {
        name: tuple(sizes[axis] for axis in orders[name]) if name in orders else sizes
        for name, sizes in shapes.items()
    }
    return freeze(model, own)


def _check_alike(models: Sequence[Model | LiteRtModel], what: Callable[[TensorSpec], object]) -> None:
    first = models[0]
    for other in models[1:]:
        if set(map(what, given(other))) != set(map(what, given(first))):
            raise ConfigError(
                f"{other.path.name} takes {', '.join(map(str, given(other)))}, "
                f"{first.path.name} takes {', '.join(map(str, given(first)))}",
                hint="models that are measured together must take the same inputs; measure them one by one",
            )


def _real_feeds(inputs: Sequence[TensorSpec], data: DataOptions) -> Feeds | None:
    if data.search is None:
        return None
    from edgeopt.data.fixed import parse_fixed
    from edgeopt.data.preprocess import Preprocess
    from edgeopt.data.source import open_data

    sized = [replace(spec, shape=data.shapes.get(spec.name, spec.shape)) for spec in inputs]
    dataset = open_data(
        data.search,
        sized,
        preprocess=Preprocess.parse(data.preprocess),
        fixed=parse_fixed(data.fixed),
        base=data.base,
    )
    return next(iter(dataset.samples(np.array([0]))))


def _fixed(inputs: Sequence[TensorSpec], data: DataOptions) -> Mapping[str, np.ndarray[Any, Any]]:
    from edgeopt.data.fixed import fixed_feed, parse_fixed

    values = parse_fixed(data.fixed)
    by_name = {spec.name: spec for spec in inputs}
    if unknown := sorted(values.keys() - by_name.keys()):
        raise ConfigError(f"--fixed {unknown[0]}: no such input", hint=f"the inputs are {', '.join(by_name)}")
    return {name: fixed_feed(by_name[name], value) for name, value in values.items()}


def artifact_of(model: Model | LiteRtModel, folder: Path, options: MeasureOptions) -> Artifact:
    """The file itself; only a model in several files is put into one, for boards take one."""
    from edgeopt.graph.litert.files import LiteRtModel
    from edgeopt.graph.serialize import serialize

    if isinstance(model, LiteRtModel):
        settings: dict[str, object] = {"threads": options.threads or 0, "xnnpack": True}
        size_bytes = model.path.stat().st_size
        return Artifact(model.digest, model.path, model.digest, size_bytes, litert.NAME, settings)
    path, sha256 = model.path, file_digest(model.path)
    if sha256 != model.digest:
        path = folder / f"{model.digest}.onnx"
        serialize(model.ir, path)
        sha256 = file_digest(path)
    return Artifact(
        candidate_key=model.digest,
        path=path,
        sha256=sha256,
        size_bytes=path.stat().st_size,
        session_options=_session_options(options),
        opset=model.opset,
        ir_version=model.ir_version,
        interface=interface_of(model),
    )


def _session_options(options: MeasureOptions) -> dict[str, object]:
    return {"threads": options.threads or 0, "graph_optimization_level": "all", "allow_spinning": True}


def _row(
    number: int,
    name: str,
    model: Model | LiteRtModel,
    artifact: Artifact,
    result: Measurement | CandidateFailed,
) -> dict[str, Any]:
    ran = isinstance(result, Measurement)
    trial = Trial(
        number=number,
        candidate=Candidate(model.digest, ()),
        state="COMPLETE" if ran else "FAILED",
        kind="baseline" if number == 0 else "candidate",
        name=name,
        artifact=replace(artifact, path=model.path),
        measurement=result if isinstance(result, Measurement) else None,
        reason=None if isinstance(result, Measurement) else result.message,
    )
    known = intervals(result) if isinstance(result, Measurement) else {}
    failure = None if isinstance(result, Measurement) else result.kind
    processes = len(result.process_p50_ms) if isinstance(result, Measurement) else 0
    more = {"intervals": known, "processes": processes or None, "failure": failure}
    return trial_document(trial) | {"trial": None} | more


def _by_region(
    board: Board, model: Model | LiteRtModel, feeds: Feeds, folder: Path, options: MeasureOptions
) -> list[dict[str, Any]] | None:
    """Mean time of each region, in the order of the graph; last, what the runtime puts between them.

    None for a LiteRT model: that runtime does not tell the times of single operators.
    """
    from edgeopt.graph.attribution import attribute
    from edgeopt.graph.litert.files import LiteRtModel
    from edgeopt.graph.regions import regions
    from edgeopt.graph.serialize import serialize

    if isinstance(model, LiteRtModel):
        return None
    # The profile names nodes, so it is taken of a file in which every node has a name.
    path = folder / f"named-{model.digest}.onnx"
    serialize(model.ir, path)
    named = Artifact(
        model.digest, path, file_digest(path), path.stat().st_size, session_options=_session_options(options),
        interface=interface_of(model),
    )  # fmt: skip
    found = regions(model)
    times, elsewhere_ms = attribute(board.profile(named, feeds, PROFILE_RUNS), path, found)
    rows = [
        {"region": name, "operators": operators, "ms": times[name]} for name, operators in described(found)
    ]
    return [*rows, {"region": None, "operators": None, "ms": elsewhere_ms}]


def names_of(paths: Sequence[Path]) -> list[str]:
    """File names, or whole paths where two files are called the same."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
