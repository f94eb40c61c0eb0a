"""Flags and project file together, and what they mean. Flags win."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from edgeopt.cli import checked, names
from edgeopt.core.conditions import Conditions, Setting, parse_cpus
from edgeopt.core.errors import ConfigError
from edgeopt.core.objective import OBJECTIVES, REGRESSIONS, Limits, MaxDrop, Objective
from edgeopt.options import (
    EFFORTS,
    RUNTIMES,
    BoardOptions,
    Budget,
    DataOptions,
    Effort,
    OptimizeOptions,
    Runtime,
    parse_duration_s,
    parse_fixed,
    parse_shape,
)
from edgeopt.project import FILE_NAME, POLICIES, Project, source

EXAMPLE = "examples/cnn"


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by section and key of the project file, flags already on top."""

    values: Mapping[tuple[str, str], Any]
    project: Project | None = None
    is_example: bool = False

    def get(self, section: str, key: str, default: Any = None) -> Any:
        """The value; `default` where neither a flag nor the file says it."""
        return self.values.get((section, key), default)


def settings(flags: Mapping[tuple[str, str], Any], *, example: bool = False) -> Settings:
    """Lay flags over the project file of the working folder.

    Args:
        flags: None and empty lists are flags that were not given.
        example: Use the bundled example where neither says which model.

    Raises:
        ConfigError: A flag or the file cannot be understood.
    """
    here = Path.cwd()
    given = {key: value for key, value in flags.items() if not _is_left_out(value)}
    for key in [("data", "path"), ("data", "calibration"), ("data", "confirm")]:
        if key in given:
            given[key] = source(given[key], here)
    for key in [("model", "path"), ("search", "output"), ("search", "policy")]:
        if key in given and given[key] not in POLICIES:
            given[key] = str((here / Path(given[key]).expanduser()).absolute())
    project = Project.find(here)
    is_example = example and project is None and ("model", "path") not in given
    if is_example:
        from edgeopt.resources import resource

        project = Project.read(resource(EXAMPLE) / FILE_NAME)
    merged = dict(project.values) if project else {}
    if str(given.get(("board", "board"), "")).startswith("virtual:"):
        merged.pop(("board", "device"), None)  # the flag names the device, too
    for key, parse in ((("model", "shape"), parse_shape), (("model", "fixed"), parse_fixed)):
        if key in given:
            given[key] = merged.get(key, {}) | dict(parse(text) for text in given[key])
    return Settings(merged | given, project, is_example)


def model_path(said: Settings) -> Path:
    """The model.

    Raises:
        ConfigError: None was named, or there is no such file.
    """
    text = said.get("model", "path")
    if text is None:
        where = (
            f"{said.project.path} has no path in [model]" if said.project else "and there is no edgeopt.toml"
        )
        raise ConfigError(f"no model was named, {where}", hint="edgeopt optimize MODEL --device NAME")
    return existing(Path(text))


def existing(path: Path) -> Path:
    """The absolute path of a file that is there.

    Raises:
        ConfigError: It is not, or it is a folder.
    """
    if not path.exists():
        raise ConfigError(f"no such file: {path}")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, a model is a file", hint="name the .onnx file in it")
    return path.absolute()


def data_options(said: Settings) -> DataOptions:
    """Where real inputs come from.

    Raises:
        ConfigError: A shape, fixed value, state or batch that is none.
    """
    search = said.get("data", "path")
    for part in ("calibration", "confirm", "metric"):
        if said.get("data", part) and search is None:
            raise ConfigError(
                f"--{part} needs --data", hint="--data names the inputs that the search may see"
            )
    return DataOptions(
        search=search,
        calibration=said.get("data", "calibration"),
        confirm=said.get("data", "confirm"),
        metric=said.get("data", "metric"),
        preprocess=said.get("data", "preprocess", {}),
        fixed={name: checked.fixed(name, value) for name, value in said.get("model", "fixed", {}).items()},
        shapes={name: checked.shape(name, sizes) for name, sizes in said.get("model", "shape", {}).items()},
        batch=checked.at_least("--batch", said.get("model", "batch", 1), 1),
        batch_axis=checked.at_least("batch_axis", said.get("model", "batch_axis"), 0),
        state=checked.state(said.get("model", "state", {})),
        base=said.project.path.parent if said.project else Path.cwd(),
    )


def board_options(said: Settings) -> BoardOptions:
    """Where to measure.

    Raises:
        ConfigError: Neither a device nor a board was named, or an unknown device.
    """
    device, board = said.get("board", "device"), said.get("board", "board")
    if device is None:
        device = _device_of(board)
    if not device.endswith(".toml"):
        names.known("device", device, names.devices())
    return BoardOptions(
        device=device,
        board=board,
        require=checked.choice("--require", said.get("board", "require"), ("measured", "emulated")),
        wait_s=checked.wait_s(said.get("board", "wait")),
    )


def objective(said: Settings) -> Objective:
    """What is asked for.

    Raises:
        ConfigError: An unknown figure or condition, or a limit that is no number above 0.
    """
    limits = Limits(
        max_latency_ms=checked.positive("--max-latency", said.get("objective", "max_latency")),
        max_p95_ms=checked.positive("--max-p95", said.get("objective", "max_p95")),
        max_memory_bytes=checked.size_bytes("--max-memory", said.get("objective", "max_memory")),
        max_size_bytes=checked.size_bytes("--max-size", said.get("objective", "max_size")),
        max_power_w=checked.positive("--max-power", said.get("objective", "max_power")),
        max_cold_start_ms=checked.positive("--max-cold-start", said.get("objective", "max_cold_start")),
        min_utilization=checked.share("--min-utilization", said.get("objective", "min_utilization")),
    )
    return Objective(
        name=checked.choice("--objective", said.get("objective", "name", "latency"), OBJECTIVES),
        max_drop=MaxDrop.parse(str(said.get("data", "max_drop", "1%"))),
        limits=limits,
        conditions=setting(said),
        allow_worse=tuple(
            checked.choice("--allow-worse", name, REGRESSIONS)
            for name in dict.fromkeys(said.get("objective", "allow_worse", ()))
        ),
    )


def setting(said: Settings) -> Setting:
    """The conditions to measure under: `app` where a rate or a load is given and nothing else is said.

    Raises:
        ConfigError: They contradict each other, or are not understood.
    """
    rate_hz = checked.positive("--rate", said.get("objective", "rate"))
    load, cpus = checked.share("--load", said.get("objective", "load")), said.get("board", "cpus")
    if load == 0:
        raise ConfigError(
            f"--load {said.get('objective', 'load')} is no load", hint="say 30% or 0.3, or leave it out"
        )
    usual = "app" if rate_hz or load else "bench"
    return Setting(
        checked.choice("--conditions", said.get("objective", "conditions", usual), get_args(Conditions)),
        rate_hz,
        load or 0.0,
        () if cpus is None else parse_cpus(cpus),
    )


def optimize_options(said: Settings, *, fresh: bool, command: str) -> OptimizeOptions:
    """All of `edgeopt optimize`.

    Raises:
        ConfigError: Anything that cannot be understood, or that this version does not do.
    """
    model, board = model_path(said), board_options(said)
    runtime: Runtime = checked.choice("--runtime", said.get("search", "runtime", "onnxruntime"), RUNTIMES)
    asked = objective(said)
    allow_modelled_energy = bool(said.get("objective", "allow_modelled_energy", False))
    folder = f"{model.stem}-{Path(board.device).stem}"
    output = said.get("search", "output") or Path.cwd() / "edgeopt-out" / folder
    return OptimizeOptions(
        model=model,
        output=Path(output),
        board=board,
        data=data_options(said),
        objective=asked,
        budget=Budget.parse(str(said.get("search", "budget", "30m"))),
        effort=effort(said),
        sampler=names.known("sampler", said.get("search", "sampler", "ppo"), names.samplers()),
        policy=said.get("search", "policy"),
        runtime=runtime,
        threads=threads(said),
        allow_interface=_allowed(said),
        seed=seed(said),
        structure=bool(said.get("search", "structure", False)),
        recover_budget_s=recover_budget_s(said),
        fresh=fresh,
        allow_unverified=bool(said.get("search", "allow_unverified", False)),
        allow_modelled_energy=allow_modelled_energy,
        is_example=said.is_example,
        project=said.project.path if said.project else None,
        command=command,
    )


def _allowed(said: Settings) -> tuple[str, ...]:
    """What of the model's inputs may change.

    Raises:
        ConfigError: What nothing knows how to change.
    """
    names_ = tuple(dict.fromkeys(said.get("model", "allow_interface", ())))
    if names_:  # what there is to allow, the rewrites tell: they are not loaded for nothing
        from edgeopt.optimize.interface import check_allowed

        check_allowed(names_)
    return names_


def effort(said: Settings) -> Effort:
    """How long each candidate is measured.

    Raises:
        ConfigError: An unknown one.
    """
    known: Effort = checked.choice("--effort", said.get("search", "effort", "normal"), EFFORTS)
    return known


def threads(said: Settings) -> int | None:
    """The fixed number of threads; None where nobody fixed it.

    Raises:
        ConfigError: Below 1.
    """
    number: int | None = checked.at_least("--threads", said.get("search", "threads"), 1)
    return number


def recover_budget_s(said: Settings) -> float | None:
    """Seconds for distilling; None where nobody asked for it.

    Raises:
        ConfigError: No duration, or the structure is not searched.
    """
    text = said.get("search", "recover_budget")
    if text is None:
        return None
    seconds = parse_duration_s(text, "--recover-budget")
    if not said.get("search", "structure", False):
        raise ConfigError(
            "--recover-budget needs --structure: only changed structures are distilled",
            hint="add --structure, or leave --recover-budget out",
        )
    return seconds or None


def seed(said: Settings) -> int:
    """Of everything random.

    Raises:
        ConfigError: Out of range.
    """
    return checked.seed(said.get("search", "seed", 0))


def _device_of(board: str | None) -> str:
    """The device that a board's name says: this machine, or what `boards.toml` says of it."""
    if board == "local":
        return "local"
    from edgeopt.boards.resolve import VIRTUAL, emulated_devices, virtual_device

    if virtual := virtual_device(board or ""):
        return virtual
    if board is not None and board not in names.FIXED_BOARDS and "://" not in board:
        from edgeopt.boards.inventory import Inventory

        return Inventory.load().get(board).device
    if board == VIRTUAL:
        choices = "|".join(f"{VIRTUAL}:{name}" for name in emulated_devices())
        raise ConfigError("which kind of board is emulated?", hint=f"--board {choices}, or --device NAME")
    raise ConfigError(
        "which kind of board is it for?",
        hint=f"--device {'|'.join(names.devices())}; --device local takes any machine",
    )


def _is_left_out(value: Any) -> bool:
    return value is None or value is False or value == []
