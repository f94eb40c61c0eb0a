"""The model with its data: shapes settled, parts split, the accuracy gate closed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import Feeds
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import ConfigError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.accuracy import AccuracyGate
from edgeopt.data.dataset import Dataset
from edgeopt.data.fixed import fixed_feed, parse_fixed, with_state
from edgeopt.data.levels import FIXED, common, of_preprocess
from edgeopt.data.metrics import resolve
from edgeopt.data.preprocess import Preprocess
from edgeopt.data.source import open_data
from edgeopt.data.split import Part, Parts, split
from edgeopt.data.streams import check_state
from edgeopt.graph.calibration import Samples
from edgeopt.graph.equivalence import random_feeds
from edgeopt.graph.interface import annotate
from edgeopt.graph.model import Model, freeze, load
from edgeopt.optimize.batch import Batch, BatchedSamples, Run, with_shapes
from edgeopt.optimize.host import host_options
from edgeopt.options import DataOptions, OptimizeOptions
from edgeopt.runtimes.onnxruntime import Session

PROOF_SAMPLES = 4
"""Calibration samples on which rewrites are compared, beside random inputs."""

NO_DATA = (
    "no --data: only exact rewrites and runtime settings are searched; "
    "with some labelled samples int8 and float16 would be too"
)
UNVERIFIED = "--allow-unverified without --data: lossy decisions are calibrated on random inputs, unchecked"


@dataclass(frozen=True, slots=True)
class RandomSamples:
    """Random inputs in the place of calibration data, where the user allowed that."""

    inputs: tuple[TensorSpec, ...]
    seed: int
    fixed: Feeds
    levels: Mapping[str, Levels] = field(default_factory=dict)
    count: int = 32
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "digest", value_digest(
                "random", [str(i) for i in self.inputs], self.seed, self.count,
                *([repr(dict(self.levels))] if self.levels else []),
            ),
        )  # fmt: skip

    def samples(self) -> Iterator[Feeds]:
        randoms = random_feeds(self.inputs, self.count, self.seed, self.levels)
        return ({**feeds, **self.fixed} for feeds in randoms)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A frozen model and what is known of its real inputs.

    Attributes:
        feeds: One inference's inputs, which every board times.
        batch: How samples become inferences.
        parts: None without data.
        remarks: What the user should know, a sentence each.
        original: Inference of single samples by the original.
        state: `{output: input}` of a streaming model.
        fixed: The inputs that `--fixed` and `[model] state` set.
        levels: By input, the bytes that its values are made of, where `--allow-interface` asks for it.
    """

    model: Model
    feeds: Feeds
    batch: Batch
    parts: Parts | None
    gate: AccuracyGate | None
    seed: int
    remarks: tuple[str, ...]
    fixed: Feeds
    original: Run
    state: Mapping[str, str]
    levels: Mapping[str, Levels] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the data and its split, of the fixed inputs and the states."""
        parts = [part.digest for part in self._named_parts().values()] if self.parts else []
        fixed = {name: value.tolist() for name, value in self.fixed.items()}
        return value_digest(parts, fixed, dict(self.state), self.batch.axis)

    @property
    def metric_name(self) -> str | None:
        return self.gate.metric.name if self.gate else None

    @property
    def calibration(self) -> Samples:
        """What ranges are collected from."""
        if self.parts is None:
            return RandomSamples(self.model.inputs, self.seed, self.fixed, self.levels)
        return self.fed(self.parts.calibration)

    def fed(self, part: Part) -> BatchedSamples:
        """The samples of a part, as the frozen model is fed them."""
        names = tuple(spec.name for spec in self.model.outputs)
        return BatchedSamples(part, self.batch, self.original, self.state, names)

    def some_samples(self) -> Iterable[Feeds]:
        """A few real inputs, for the proof of rewrites."""
        return itertools.islice(self.calibration.samples(), PROOF_SAMPLES) if self.parts else ()

    def split_indices(self) -> dict[str, list[int]] | None:
        """The samples of each part: evidence, kept in `best.json`."""
        if self.parts is None:
            return None
        return {name: [int(index) for index in part.indices] for name, part in self._named_parts().items()}

    def _named_parts(self) -> dict[str, Part]:
        assert self.parts is not None  # noqa: S101 - callers have looked
        return {
            "calibration": self.parts.calibration,
            "search": self.parts.search,
            "confirm": self.parts.confirm,
        }


def open_inputs(options: OptimizeOptions) -> Inputs:
    """Load the model, open the data, settle the shapes.

    Raises:
        ConfigError: A missing file, an unknown metric, a name that the model does not have.
        ModelError: The model is refused, or a shape that nothing settles.
        DataError: The data does not fit.
    """
    said = options.data
    loaded = load(options.model)
    check_state(said.state, [spec.name for spec in loaded.inputs], [spec.name for spec in loaded.outputs])
    batch = Batch(said.batch, said.batch_axis or 0)
    if said.search is None:
        if said.calibration or said.confirm or said.metric:
            raise ConfigError("--calibration, --confirm and --metric need --data")
        model = freeze(loaded, batch.shapes(loaded.inputs, said.shapes))
        fixed = _fixed(model.inputs, said)
        free = [spec for spec in model.inputs if spec.name not in fixed]
        said_bytes = of_preprocess(Preprocess.parse(said.preprocess), free) if options.allow_interface else {}
        levels = _noted(model, {**said_bytes, **dict.fromkeys(fixed, FIXED)}, options)
        feeds = {**next(random_feeds(model.inputs, 1, options.seed, levels)), **fixed}
        remark = UNVERIFIED if options.allow_unverified else NO_DATA
        run = batch.run(Session(model.path, host_options(model)).run)
        return Inputs(
            model, feeds, batch, None, None, options.seed, (remark,), fixed, run, said.state, levels
        )
    specs = with_shapes(loaded.inputs, said.shapes)
    searched = _open(said.search, specs, said)
    calibration, confirm = (
        _open(source, specs, said) if source else None for source in (said.calibration, said.confirm)
    )
    parts = split(searched, calibration, confirm, options.seed)
    model = freeze(loaded, batch.shapes(loaded.inputs, searched.shapes()))
    run = batch.run(Session(model.path, host_options(model)).run)
    first = next(parts.calibration.samples())
    metric = resolve(said.metric, labels=searched.labels, outputs=run(first), base=said.base)
    gate = AccuracyGate(
        parts, metric, run,
        batch_axis=batch.axis, state=said.state, output_names=[spec.name for spec in model.outputs],
        max_drop=options.objective.max_drop, seed=options.seed,
    )  # fmt: skip
    fixed = _fixed(model.inputs, said)
    known = common([part.dataset.levels() for part in (parts.calibration, parts.search, parts.confirm)])
    levels = _noted(model, known, options)
    return Inputs(
        model, batch.fill(first), batch, parts, gate, options.seed, (), fixed, run, said.state, levels
    )


def _noted(model: Model, known: Mapping[str, Levels | str], options: OptimizeOptions) -> dict[str, Levels]:
    """Note in the graph which bytes its inputs are made of, or why they are not; those that are."""
    if not options.allow_interface:
        return {}
    fed_back = dict.fromkeys(options.data.state.values(), "it is a state, which the model itself computes")
    noted = {**known, **fed_back}
    annotate(model.ir, noted)
    return {name: levels for name, levels in noted.items() if isinstance(levels, Levels)}


def _fixed(specs: Sequence[TensorSpec], said: DataOptions) -> dict[str, NDArray[np.generic]]:
    values = with_state(parse_fixed(said.fixed), said.state)
    by_name = {spec.name: spec for spec in specs}
    if unknown := sorted(values.keys() - by_name.keys()):
        raise ConfigError(
            f"--fixed {unknown[0]}: the model has no such input", f"it has {', '.join(by_name)}"
        )
    return {name: fixed_feed(by_name[name], value) for name, value in values.items()}


def _open(source: str, specs: tuple[TensorSpec, ...], said: DataOptions) -> Dataset:
    fixed = with_state(parse_fixed(said.fixed), said.state)
    return open_data(source, specs, preprocess=Preprocess.parse(said.preprocess), fixed=fixed, base=said.base)
