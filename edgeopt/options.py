"""What a user asked for, as values: the texts of flags and of `edgeopt.toml`, read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Provenance

Runtime = Literal["onnxruntime", "litert", "auto"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "litert", "auto")
Effort = Literal["quick", "normal", "thorough"]
EFFORTS: tuple[Effort, ...] = ("quick", "normal", "thorough")

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {
    "": 1, "b": 1, "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
}  # fmt: skip


def parse_duration_s(text: str, flag: str) -> float:
    """Seconds of `90s`, `30m`, `1h` or `1h30m`.

    Raises:
        ConfigError: None of these.
    """
    clean = text.strip().lower().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)(min|h|m|s)", clean)
    if not parts or "".join(number + unit for number, unit in parts) != clean:
        raise ConfigError(f"{flag} {text!r} is not a duration", hint="write 90s, 30m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size_bytes(text: str, flag: str) -> float:
    """Bytes of `8M`, `512k`, `1.5GB`, `8MiB` or a plain number; `M` is 10⁶, `MiB` is 2²⁰.

    Raises:
        ConfigError: None of these, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", text.strip().lower().replace(" ", ""))
    if match is None or match[2] not in _BYTES or float(match[1]) <= 0:
        raise ConfigError(f"{flag} {text!r} is not a size", hint="write 8M, 512k, 8MiB or a number of bytes")
    return float(match[1]) * _BYTES[match[2]]


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to search: measured trials or seconds. References and the final stage come on top.

    Exactly one of the two is set.
    """

    seconds: float | None = None
    trials: int | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read `30m`, `1h`, `40 trials` or `0` (references and final stage only).

        Raises:
            ConfigError: None of these.
        """
        clean = text.strip().lower()
        if clean == "0":
            return cls(trials=0)
        if match := re.fullmatch(r"(\d+)\s*trials?", clean):
            return cls(trials=int(match[1]))
        try:
            return cls(seconds=parse_duration_s(text, "--budget"))
        except ConfigError as error:
            raise ConfigError(
                f"--budget {text!r} is neither a time nor a number of trials",
                hint='write 30m, 1h, "40 trials", or 0 for the references only',
            ) from error

    def __str__(self) -> str:
        if self.trials is not None:
            return f"{self.trials} trials" if self.trials else "references only"
        minutes, seconds = divmod(round(self.seconds or 0), 60)
        return (
            f"{minutes} min" if not seconds else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        )


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Name and sizes of `NAME=1,3,224,224`; `NAME=` is a scalar.

    Raises:
        ConfigError: Another form, or a size below 1.
    """
    name, equals, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in re.split(r"[,x]", sizes)) if sizes.strip() else ()
    except ValueError:
        equals = ""
        shape = ()
    if not equals or not name or any(size < 1 for size in shape):
        raise ConfigError(f"--shape {text!r} is not a shape", hint="write --shape input=1,3,224,224")
    return name, shape


def parse_fixed(text: str) -> tuple[str, str]:
    """Name and value of `NAME=VALUE`; the value is a number, numbers with commas, or `zeros`.

    Raises:
        ConfigError: Another form.
    """
    name, equals, value = (part.strip() for part in text.rpartition("="))
    if not equals or not name or not is_fixed_value(value):
        raise ConfigError(
            f"--fixed {text!r} is not a value for an input", hint="write --fixed sr=16000 or --fixed h0=zeros"
        )
    return name, value


def is_fixed_value(value: str) -> bool:
    """Whether `value` is `zeros`, a finite number, or finite numbers with commas between them."""
    if value == "zeros":
        return True
    try:
        return all(math.isfinite(float(part)) for part in value.split(","))
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Where real inputs come from, and how the model's inputs are settled.

    Attributes:
        search: Absolute path, or `module:function`; None without data.
        calibration: The same; None to split it off `search`.
        confirm: The same; None to split it off `search`.
        metric: Built-in name or `module:function`; None for the default.
        preprocess: `[data.preprocess]` of the project file, as it stands there.
        fixed: Value by input name: `zeros`, or numbers with commas between them.
        shapes: Shape by input name, for what the model leaves open.
        batch: Samples per inference.
        batch_axis: Of the model's inputs; None to find it out.
        state: Input by the output that feeds it: `{"h_out": "h_in"}`.
        base: Folder that `module:function` is imported from.
    """

    search: str | None = None
    calibration: str | None = None
    confirm: str | None = None
    metric: str | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    batch: int = 1
    batch_axis: int | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    base: Path = field(default_factory=Path.cwd)


WAIT_S = 600.0
"""`--wait`, where it is not given."""


@dataclass(frozen=True, slots=True)
class BoardOptions:
    """Where to measure.

    Attributes:
        device: Name of a device profile, or the path of one.
        board: A configured board, `local`, `virtual`, `predicted` or `ssh://…`; None to choose one.
        require: Refuse anything weaker than this provenance.
        wait_s: How long to wait for a board that somebody else has, or that is unreachable; None where
            nobody said.
    """

    device: str
    board: str | None = None
    require: Provenance | None = None
    wait_s: float | None = None

    @property
    def pause_s(self) -> float:
        """How long another's board is waited for, and how long an outage pauses a study."""
        return WAIT_S if self.wait_s is None else self.wait_s

    @property
    def off_s(self) -> float:
        """How long a board is waited for that was never there: only if that was asked for, for its address
        may be wrong."""
        return self.wait_s or 0.0


@dataclass(frozen=True, slots=True)
class OptimizeOptions:
    """One `edgeopt optimize`: what the flags, the project file and the defaults say together.

    Attributes:
        model: Absolute path.
        output: Absolute path of the folder that receives the result.
        is_example: The bundled example, because no model was named.
        project: The project file that was read; None without one.
        policy: What the agent starts from: `scratch`, `pretrained` or an absolute path; None for the default.
        runtime: On which candidates may run; `auto` lets the search decide.
        threads: Fixed number of threads; None to let the search decide.
        structure: Whether changes of the model's structure are searched, too.
        recover_budget_s: Seconds for distilling the best changed structures; None for no distillation.
        learnt_in: Where distilled weights are; None for a folder in `output`.
        allow_interface: What of the model's inputs may change (`uint8-input`, `nhwc`).
        command: What was typed, to be shown in the report.
    """

    model: Path
    output: Path
    board: BoardOptions
    data: DataOptions = field(default_factory=DataOptions)
    objective: Objective = field(default_factory=Objective)
    budget: Budget = Budget(seconds=1800.0)
    effort: Effort = "normal"
    sampler: str = "ppo"
    policy: str | None = None
    runtime: Runtime = "onnxruntime"
    threads: int | None = None
    seed: int = 0
    structure: bool = False
    recover_budget_s: float | None = None
    learnt_in: Path | None = None
    fresh: bool = False
    allow_unverified: bool = False
    allow_modelled_energy: bool = False
    allow_interface: tuple[str, ...] = ()
    is_example: bool = False
    project: Path | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmOptions:
    """One `edgeopt confirm`.

    Attributes:
        folder: Of the study whose figures were not measured.
        board: A configured board, `local` or `ssh://…`.
        effort: None for that of the study.
        command: What was typed, to be shown in the report.
    """

    folder: Path
    board: str
    effort: Effort | None = None
    wait_s: float | None = None
    fresh: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """One `edgeopt study explain`.

    Attributes:
        folder: Of the study.
        budget: How much to measure; None for nothing: what was measured before, else what is predicted.
        by: What is turned back at once; None to choose.
        board: None for the one that the study was made on.
    """

    folder: Path
    budget: Budget | None = None
    by: Literal["decision", "pattern"] | None = None
    board: str | None = None
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """One `edgeopt measure`.

    Attributes:
        models: Absolute paths; the first is the control that the others are compared with.
        by_region: Also the time of each region of each model.
        setting: The conditions to measure under.
        threads: None for the runtime's default.
    """

    models: tuple[Path, ...]
    board: BoardOptions
    data: DataOptions = field(default_factory=DataOptions)
    effort: Effort = "normal"
    threads: int | None = None
    seed: int = 0
    by_region: bool = False
    setting: Setting = field(default_factory=Setting)
