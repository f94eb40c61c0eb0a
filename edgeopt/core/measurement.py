"""What a board said of an artifact. Unknown is None: never 0, never invented."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from edgeopt.core.conditions import Conditions, Setting
from edgeopt.core.quantity import Provenance, Quantity


@dataclass(frozen=True, slots=True)
class Protocol:
    """How long and how often to measure: one stage of a study.

    Attributes:
        name: `screen`, `rank` or `final`.
        processes: Fresh processes per artifact.
        min_runs: Least number of timed inferences per process.
        window_s: Least time measured per process.
        slice_s: Artifacts measured together take turns of this length, so that drift hits them alike.
        stop_ratio: Give up on an artifact this many times slower than the control after its first
            slice (None: never).
        deadline_s: A process that takes longer is killed, and its candidate fails.
        dominated_ratio: Give up on an artifact that was so many times slower than the control in each of its
            first three or more processes (None: never).
        enough_ci: Start no further processes once the 95 % interval of every artifact's median is this narrow
            (half of its width, relative) after three or more (None: never).
        setting: The conditions to measure under.
    """

    name: str
    processes: int
    min_runs: int
    window_s: float
    slice_s: float
    stop_ratio: float | None
    deadline_s: float
    setting: Setting = field(default_factory=Setting)
    dominated_ratio: float | None = None
    enough_ci: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Timings and resources of one artifact, in one stage.

    Attributes:
        latencies_ms: One per timed inference that counts, in order; empty for emulated and predicted figures.
        process_p50_ms: Median of each fresh process.
        process_p95_ms: 95th percentile of each fresh process; empty where it has too few samples.
        process_turns_ms: Of each fresh process the medians of its turns: they pair with those of artifacts
            that were measured with it.
        process_cold_start_ms: Cold start of each fresh process.
        process_peak_rss_bytes: Highest resident size of each fresh process.
        latency: The median with its 95 % interval (between processes where there are several).
        cold_start_ms: From process start to the first output.
        load_ms: Session creation alone.
        first_inference_ms: The first run of a fresh session.
        peak_rss_bytes: Highest resident size of the whole process.
        model_rss_bytes: `peak_rss_bytes` less that of a process which only loaded the runtime.
        energy_mj: Of one inference, all that the board drew meanwhile.
        net_energy_mj: The same less what the idle board draws.
        process_energy_mj: Energy per inference of each fresh process; empty where it is not known of all.
        energy_note: Why there is no energy, or what was put right in it.
        cpu_utilization: CPU time / (wall time * cores), 0..1.
        roofline_fraction: Achieved FLOP/s / the profile's ceiling, 0..1.
        control_ratio: This artifact's median / the control's, measured in turns with it.
        drift: How much slower than at the study's start the board was, by the control: 1.02 is 2 % slower.
        stopped_early: Given up as hopeless: fewer samples than the protocol asks for.
        contended: Share of the measured time in which others had the model's core, too; None where nothing
            tells. Latencies are of the rest, if that is enough.
        latency_note: What to know of the latencies; None if nothing.
        validity: Why it must not be trusted; None if valid.
    """

    latency: Quantity
    latencies_ms: tuple[float, ...] = ()
    process_p50_ms: tuple[float, ...] = ()
    process_p95_ms: tuple[float, ...] = ()
    process_turns_ms: tuple[tuple[float, ...], ...] = ()
    process_cold_start_ms: tuple[float, ...] = ()
    process_peak_rss_bytes: tuple[int, ...] = ()
    cold_start_ms: float | None = None
    load_ms: float | None = None
    first_inference_ms: float | None = None
    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    energy_mj: Quantity | None = None
    power_w: Quantity | None = None
    net_energy_mj: Quantity | None = None
    process_energy_mj: tuple[float, ...] = ()
    energy_note: str | None = None
    cpu_utilization: float | None = None
    roofline_fraction: float | None = None
    temperature_start_c: float | None = None
    temperature_end_c: float | None = None
    clock_hz: float | None = None
    throttled: bool | None = None
    control_ratio: float | None = None
    drift: float | None = None
    stopped_early: bool = False
    contended: float | None = None
    latency_note: str | None = None
    conditions: Conditions = "bench"
    validity: str | None = None
    protocol: str = "screen"

    @property
    def provenance(self) -> Provenance:
        """Of the latency, which every measurement has."""
        return self.latency.provenance

    @property
    def p50_ms(self) -> float:
        return self.latency.value

    @property
    def p90_ms(self) -> float | None:
        return self.percentile_ms(90, least=64)

    @property
    def p95_ms(self) -> float | None:
        return self.percentile_ms(95, least=130)

    @property
    def p99_ms(self) -> float | None:
        return self.percentile_ms(99, least=662)

    def percentile_ms(self, q: float, least: int) -> float | None:
        """The q-th percentile, or None where fewer than `least` samples support it."""
        if len(self.latencies_ms) < least:
            return None
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, round(q / 100 * (len(ordered) - 1)))]

    def to_json(self) -> dict[str, Any]:
        """Everything but the samples, which go to a side file."""
        fields = asdict(self)
        del fields["latencies_ms"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any], latencies_ms: tuple[float, ...] = ()) -> Measurement:
        """The inverse of `to_json`."""
        # JSON knows lists only; equal measurements must stay equal.
        known: dict[str, Any] = {name: _frozen(value) for name, value in fields.items()}
        known["latencies_ms"] = latencies_ms
        for name in ("latency", "energy_mj", "power_w", "net_energy_mj"):
            known[name] = Quantity(**known[name]) if known.get(name) else None
        return cls(**known)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
