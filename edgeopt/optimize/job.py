"""Everything that one `optimize` works with, opened in the order that refuses bad input soonest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from edgeopt.boards import connect, profiles
from edgeopt.boards.answers import P95_SAMPLES
from edgeopt.boards.board import Board
from edgeopt.boards.conditions import pinned_cores
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.metering.energy import LEAST_WINDOW_S
from edgeopt.core import plugins
from edgeopt.core.candidate import ONNXRUNTIME
from edgeopt.core.errors import (
    BoardError,
    CandidateFailed,
    ConfigError,
    EdgeoptError,
    ModelError,
)
from edgeopt.core.measurement import Protocol
from edgeopt.core.objective import SCREENING_SLACK, Objective
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.progress import Observer
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.data.accuracy import AccuracyGate
from edgeopt.evaluate import Evaluator
from edgeopt.graph import calibration, equivalence
from edgeopt.graph.builder import Builder, saturates, wants_unsigned
from edgeopt.graph.calibration import Ranges
from edgeopt.graph.litert.builder import LiteRtBuilder
from edgeopt.graph.model import Model, check_supported
from edgeopt.graph.moments import Statistics
from edgeopt.graph.space import search_space
from edgeopt.graph.structuring import Structures
from edgeopt.graph.workload import workload
from edgeopt.optimize import beliefs, identity, kept
from edgeopt.optimize.host import Host, host_options, run_bytes
from edgeopt.optimize.inputs import Inputs, open_inputs
from edgeopt.optimize.interface import left_out
from edgeopt.optimize.runtimes import Runtimes, open_runtimes
from edgeopt.options import OptimizeOptions
from edgeopt.runtimes import onnxruntime
from edgeopt.runtimes.probe import Probe
from edgeopt.search import by_runtime, initial
from edgeopt.search.context import SearchContext
from edgeopt.search.initial import InitialPolicy
from edgeopt.study.store import StudyStore

BEST_FILES = (".onnx", ".tflite")
"""Endings of the file that a study leaves behind."""
LEARNT = "distilled"
"""Folder of distilled weights in that of a study."""


@dataclass(slots=True)
class Job:
    """One `optimize`, opened.

    Attributes:
        runtimes: On which candidates may run, the default first.
        screening_slack: See `SCREENING_SLACK`.
        device_seconds: Time that the board spent on this run.
        confirm_score: The original's score on the confirm part; None before the final stage.
        context: What samplers are given.
        power_cycle: Command of this machine that takes the board's power away and gives it back.
        stopping: Set when nobody waits for the board's answer any more.
    """

    options: OptimizeOptions
    observer: Observer
    profile: DeviceProfile
    model: Model
    inputs: Inputs
    board: Board
    space: SearchSpace
    store: StudyStore
    evaluator: Evaluator
    context: SearchContext
    protocols: dict[str, Protocol]
    runtimes: tuple[str, ...] = (ONNXRUNTIME,)
    screening_slack: float = SCREENING_SLACK
    device_seconds: float = 0.0
    confirm_score: float | None = None
    power_cycle: str | None = None
    stopping: Event = field(default_factory=Event)

    @property
    def screening(self) -> Protocol:
        """How candidates are measured in the search: longer where a 95th percentile is asked for."""
        return self.protocols["rank" if _needs_p95(self.options.objective) else "screen"]

    @property
    def is_small_wanted(self) -> bool:
        """Whether the size of the file decides."""
        return self.options.objective.name == "size"

    def give_up(self) -> None:
        """Stop waiting for the board: what it is doing now is of no use."""
        self.stopping.set()
        self.board.close()

    @property
    def gate(self) -> AccuracyGate | None:
        return self.inputs.gate


@contextlib.contextmanager
def open_job(options: OptimizeOptions, observer: Observer) -> Iterator[Job]:
    """Check everything, then make the output folder: what is refused leaves nothing behind.

    Raises:
        EdgeoptError: Whatever is wrong with the flags, the model, the data, the board or the study.
    """
    _check_flags(options)
    policy = initial.of_sampler(options.sampler, options.policy)
    profile = profiles.load(options.board.device)
    inputs = open_inputs(options)
    connected = connect.connect(
        profile, options.board.board, Inventory.load(), workload, options.board.require, observer,
        options.board.pause_s, options.board.off_s,
    )  # fmt: skip
    with connected.board as board, open_runtimes(options.runtime, board, observer) as runtimes:
        _check_energy(options, board)
        if options.objective.limits.max_power_w is not None and board.energy_source == "model":
            observer.announce(
                "--max-power judges a model of the board (idle power and busy cores), off by up to 25 %"
            )
        cores = pinned_cores(options.objective.conditions, board)
        for remark in inputs.remarks:
            observer.announce(remark)
        max_opset, max_ir = _supported(board, runtimes)
        if ONNXRUNTIME in runtimes.searched:
            _check_runtime(inputs.model, max_opset, max_ir, board)
        if inputs.gate:
            inputs.gate.original("search")  # a metric that raises must leave nothing behind
        _make_folder(options.output)
        ranges = _ranges(options, inputs, observer)
        fast = profiles.fast_cores(profile)
        restructures = options.structure and ranges is not None and inputs.parts is not None
        space = search_space(
            inputs.model, lossy=ranges is not None, cores=cores, fast_cores=fast, structure=restructures,
            unsigned=wants_unsigned(board.facts.machine), interface=options.allow_interface,
            runtimes=runtimes.searched, beside=runtimes.beside,
        )  # fmt: skip
        for remark in left_out(inputs.model, space, options.allow_interface):
            observer.announce(remark)
        space = _fixed_threads(space, options.threads, cores, board)
        context = SearchContext(
            space=space,
            objective=options.objective,
            seed=options.seed,
            folder=options.output,
            # What was distilled says nothing of candidates that are not, nor what runs on another runtime.
            history=lambda: [
                trial
                for trial in store.trials
                if not trial.candidate.is_distilled and trial.candidate.runtime in runtimes.searched
            ],
            original_score=lambda: evaluator.original_score,
            region_ms=lambda: store.notes.get("region_ms") or {},
            region_noise=lambda: noise,
            savings=lambda: savings,
            policy=policy or InitialPolicy(),
        )
        structures = _structures(options, inputs, space) if restructures else None
        builder = Builder(
            inputs.model, space, ranges, options.output / "artifacts", max_opset, max_ir,
            unsigned=wants_unsigned(board.facts.machine),
            seven_bits=saturates(board.facts.machine, board.facts.features),
            statistics=_statistics(options, inputs) if ranges is not None else None,
            structures=structures,
            litert=_litert(options, inputs, space, runtimes),
        )  # fmt: skip
        with (
            Probe() as probe,
            StudyStore.open(
                options.output,
                space=space,
                identity=identity.of_study(options, inputs, board, policy),
                make_sampler=lambda _: by_runtime.create(
                    context, plugins.load("samplers", options.sampler).create
                ),
                objective=options.objective,
                fresh=options.fresh,
            ) as store,
        ):
            if store.notes.get(kept.NOTE) != (asked := kept.to_json(options)):
                store.note(kept.NOTE, asked)
            savings = beliefs.savings(structures, space, observer)
            noise = beliefs.noise(options, inputs, space, ranges, board, probe, observer)
            host = Host(inputs.batch, probe, host_options(inputs.model))
            evaluator = _evaluator(options, profile, inputs, board, builder, host, observer)
            yield Job(
                options,
                observer,
                profile,
                inputs.model,
                inputs,
                board,
                space,
                store,
                evaluator,
                context,
                _protocols(options, profile, board),
                runtimes.searched,
                power_cycle=connected.power_cycle,
            )


def _ranges(options: OptimizeOptions, inputs: Inputs, observer: Observer) -> Ranges | None:
    """Calibrated ranges; None where nothing lossy is to be searched, or the model cannot be calibrated."""
    if inputs.parts is None and not options.allow_unverified:
        return None
    cache = options.output / "cache"
    cache.mkdir(exist_ok=True)
    try:
        return calibration.collect(inputs.model, inputs.calibration, folder=cache)
    except (ModelError, CandidateFailed) as error:
        observer.announce(f"lossy decisions are left out, the model cannot be calibrated: {error.message}")
        return None


def _statistics(options: OptimizeOptions, inputs: Inputs) -> Statistics:
    """What finer ways to quantize ask for: computed when a candidate chooses one."""
    return Statistics(inputs.model, inputs.calibration, folder=options.output / "cache")


def _structures(options: OptimizeOptions, inputs: Inputs, space: SearchSpace) -> Structures:
    """The changed models: made when a candidate chooses one, and kept by content."""
    return Structures(
        inputs.model, space.regions, inputs.calibration, _statistics(options, inputs),
        options.output / "cache",
        unlabelled=inputs.fed(inputs.parts.search) if inputs.parts else None,
        seed=options.seed, learnt_in=options.learnt_in or options.output / LEARNT,
    )  # fmt: skip


def _litert(
    options: OptimizeOptions, inputs: Inputs, space: SearchSpace, runtimes: Runtimes
) -> LiteRtBuilder | None:
    """What makes LiteRT files; None where nothing runs on it."""
    if runtimes.worker is None:
        return None
    return LiteRtBuilder(
        space, runtimes.worker, options.output / "artifacts" / "litert", inputs.calibration,
        inputs.some_samples, inputs.fixed,
    )  # fmt: skip


def _evaluator(
    options: OptimizeOptions,
    profile: DeviceProfile,
    inputs: Inputs,
    board: Board,
    builder: Builder,
    host: Host,
    observer: Observer,
) -> Evaluator:
    return Evaluator(
        builder=builder,
        board=board,
        objective=options.objective,
        feeds=inputs.feeds,
        prove=lambda rewritten: equivalence.check(
            inputs.model, rewritten, inputs.some_samples(), run_bytes(), fixed=inputs.fixed
        ),
        host_run=host.run,
        gate=inputs.gate,
        max_drift=float(profile.get("measurement", "max_control_drift")),
        tries=int(profile.get("measurement", "tries")),
        cooldown_s=float(profile.get("measurement", "cooldown_s")),
        tell=observer.announce,
    )


def _check_flags(options: OptimizeOptions) -> None:
    if options.sampler not in plugins.names("samplers"):
        raise ConfigError(
            f"unknown sampler {options.sampler!r}", hint=f"known: {', '.join(plugins.names('samplers'))}"
        )
    if options.model.resolve() in [(options.output / f"best{kind}").resolve() for kind in BEST_FILES]:
        raise ConfigError(f"the result would overwrite the model {options.model}", hint="choose another -o")


def _protocols(options: OptimizeOptions, profile: DeviceProfile, board: Board) -> dict[str, Protocol]:
    """How each stage measures: where a meter's figure decides, long enough for it in every stage, and where
    a 95th percentile does, with enough runs for one in every process."""
    stages = profiles.protocols(profile, options.effort, options.objective.conditions)
    if _needs_p95(options.objective):
        for name in ("rank", "final"):
            stages[name] = replace(stages[name], min_runs=max(stages[name].min_runs, P95_SAMPLES))
    asked = options.objective.name == "energy" or options.objective.limits.max_power_w is not None
    if not asked or board.energy_source in (None, "model"):
        return stages
    return {
        name: replace(stage, window_s=max(stage.window_s, LEAST_WINDOW_S / stage.processes))
        for name, stage in stages.items()
    }


def _needs_p95(objective: Objective) -> bool:
    return objective.name == "p95" or objective.limits.max_p95_ms is not None


def _check_energy(options: OptimizeOptions, board: Board) -> None:
    """Modelled energy is latency in disguise: to search for it must be asked for.

    Raises:
        ConfigError: The objective is energy, and nothing tells it, or nothing but a model.
    """
    if options.objective.name != "energy":
        return
    if board.energy_source is None:
        raise ConfigError(
            f"--objective energy: nothing tells what {board.name} draws",
            hint="give it a [board.NAME.meter] in boards.toml: docs/boards/meters.md",
        )
    if board.energy_source == "model" and not options.allow_modelled_energy:
        raise ConfigError(
            f"--objective energy: the only energy that {board.name} knows is a model's, which follows the "
            "latency",
            hint="--objective latency, or --allow-modelled-energy to search for the modelled figure",
        )


def _supported(board: Board, runtimes: Runtimes) -> tuple[int, int]:
    """The newest operator set and IR version: the board's, or this machine's where the board runs no ONNX."""
    if ONNXRUNTIME not in runtimes.searched:
        return onnxruntime.supported(onnxruntime.version())
    return onnxruntime.supported(board.facts.runtimes[onnxruntime.NAME])


def _check_runtime(model: Model, max_opset: int, max_ir: int, board: Board) -> None:
    runtime = f"onnxruntime {board.facts.runtimes[onnxruntime.NAME]} on {board.name}"
    try:
        check_supported(model.ir, max_opset, max_ir, runtime)
    except ModelError as error:  # the model is fine: it is the board that is too old for it
        raise BoardError(error.message, error.hint) from error


def _fixed_threads(space: SearchSpace, threads: int | None, cores: int, board: Board) -> SearchSpace:
    """The space with the number of threads decided by the user.

    Raises:
        ConfigError: More than the cores that the board has, or that the model is pinned to.
    """
    if threads is None:
        return space
    if threads > cores:
        raise ConfigError(f"--threads {threads}: the model has {cores} cores of {board.name}")
    said = str(threads)
    points = tuple(
        DecisionPoint(p.site, (said,), said) if p.site == "runtime:threads" else p for p in space.points
    )
    return replace(space, points=points)


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeoptError(f"cannot make the output folder {output}: {error.strerror or error}") from error
