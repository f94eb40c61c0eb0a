"""How the energy on a board is known: by a meter on it, by one on another machine, or by a model of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edgeopt.boards.address import Address
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.metering import edges, energy, sampling
from edgeopt.boards.metering.settings import modelled
from edgeopt.boards.meters import EnergySource, Recording, Settings
from edgeopt.boards.meters import model as power_model
from edgeopt.core import plugins
from edgeopt.core.errors import BoardError, CandidateFailed, CommandError, ConfigError, EdgeoptError
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.quantity import Quantity

DEADLINE_S = 60.0
METERING_S = 60.0
"""What a meter adds to a measurement at most: finding it, the edges, telling what it read."""


@dataclass(frozen=True, slots=True)
class Link:
    """The way to what a board draws.

    Attributes:
        settings: Of the meter.
        host: Where it hangs, if not on the board itself.
    """

    settings: Settings
    host: Address | None = None

    @classmethod
    def of(
        cls, settings: Settings | None, profile: DeviceProfile, address_of: Callable[[str], Address]
    ) -> Link | None:
        """What `[board.NAME.meter]` says; without it the profile's model, or None where it has none.

        Args:
            address_of: The address that a `host` means: its own, or that of a named board.

        Raises:
            ConfigError: A model is asked for, and the profile has none; or the host is none.
        """
        chosen = settings or modelled(profile)
        if chosen.kind == "model":
            chosen = replace(chosen, idle_w=modelled(profile).idle_w, k_w=modelled(profile).k_w)
            try:
                power_model.check(chosen)
            except ConfigError:
                if settings is None:
                    return None
                raise
        return cls(chosen, address_of(chosen.host) if chosen.host else None)

    @property
    def source(self) -> EnergySource:
        return plugins.load("meters", self.settings.kind).SOURCE  # type: ignore[no-any-return]


@dataclass(slots=True)
class Beside:
    """One measurement, with the meter beside it.

    Attributes:
        fields: For the request to the board's runner.
        note: Why there will be no energy; None so far.
        recording: Of a meter on another machine, on whose clock it is.
        here_s: That clock less this machine's.
    """

    link: Link | None
    fields: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    recording: Recording | None = None
    here_s: float = 0.0
    board_here_s: float = 0.0

    def answered(self, answer: Mapping[str, Any]) -> None:
        """The runner has answered just now: tells how its clock lies to this machine's."""
        self.board_here_s = float(answer.get("now_s", 0.0)) - time.perf_counter()

    def added(
        self, results: Sequence[Measurement | CandidateFailed], answer: Mapping[str, Any]
    ) -> list[Measurement | CandidateFailed]:
        """The results with their energy, or with why there is none."""
        whole = [
            (result, model)
            for result, model in zip(results, answer["models"], strict=True)
            if isinstance(result, Measurement)
        ]
        told = iter(self._told([one[0] for one in whole], [one[1] for one in whole], answer))
        return [next(told) if isinstance(result, Measurement) else result for result in results]

    def _told(
        self, results: Sequence[Measurement], models: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]
    ) -> Sequence[Measurement]:
        if self.link is None or not results:
            return results
        settings = self.link.settings
        if self.link.source == "model":
            return [modelled_energy(result, settings) for result in results]
        told = answer.get("meter") or {}
        if self.note is None and "error" in told:
            self.note = f"the meter cannot be read: {told['error']}"
        if self.note is not None:
            return [replace(result, energy_note=self.note) for result in results]
        module = plugins.load("meters", settings.kind)
        try:
            samples = module.parse(self.recording or sampling.recording(told), settings)
        except ConfigError as error:
            return [replace(result, energy_note=error.message) for result in results]
        shift_s = self.board_here_s - self.here_s if self.link.host else 0.0
        before, after = (edges.Pattern.of(pattern) for pattern in answer["edges"])
        metered = energy.Metered(
            samples=[replace(sample, t_s=sample.t_s + shift_s) for sample in samples],
            before=before,
            after=after,
            source=module.SOURCE,
            error_share=module.ERROR_SHARE,
            same_clock=self.link.host is None,
        )
        return energy.added(results, models, metered)


@contextmanager
def beside(link: Link | None, protocol: MeasuringProtocol) -> Iterator[Beside]:
    """Read the meter while models are measured by a protocol.

    A meter that cannot be read takes the energy away, never the measurement: the note says why.
    """
    taken = Beside(link)
    window_s = protocol.processes * protocol.window_s
    if link is None or link.source == "model":
        yield taken
    elif window_s < energy.LEAST_WINDOW_S - 1e-3:
        taken.note = energy.too_short(window_s)
        yield taken
    elif link.host is None:
        taken.fields = {"edges": [edges.BEFORE, edges.AFTER], "meter": sampling.order(link.settings)}
        yield taken
    else:
        with ExitStack() as stack:
            dialogue = _started(stack, link.host, taken)
            if dialogue is not None:
                taken.fields = {"edges": [edges.BEFORE, edges.AFTER]}
            yield taken
            if dialogue is not None:
                _stopped(dialogue, taken)


def modelled_energy(result: Measurement, settings: Settings) -> Measurement:
    """Idle + k * utilization over the latency: the runner counts CPU time itself, nothing is sampled."""
    if result.cpu_utilization is None:
        return replace(result, energy_note="the board does not tell how busy it was")
    if result.conditions == "app":  # a request that is waited for and a neighbour's work cost energy, too
        return replace(
            result, energy_note="a model of power knows neither waiting nor other work: use a meter"
        )
    power_w, share = power_model.power_w(settings, result.cpu_utilization), power_model.ERROR_SHARE
    latency, provenance = result.latency, result.provenance
    return replace(
        result,
        power_w=Quantity(
            power_w, "W", power_w * (1 - share), power_w * (1 + share), provenance, power_model.SOURCE
        ),
        energy_mj=Quantity(
            power_w * latency.value, "mJ", power_w * latency.low * (1 - share),
            power_w * latency.high * (1 + share), provenance, power_model.SOURCE,
        ),
        # What is latency in disguise has the latency's noise: two are told apart by that of their processes.
        process_energy_mj=tuple(power_w * p50_ms for p50_ms in result.process_p50_ms),
    )  # fmt: skip


@contextmanager
def talk(address: Address, name: str) -> Iterator[Dialogue]:
    """A conversation with the runner of a machine, which needs no model's runtime for it.

    Args:
        name: What the machine is, for messages: where there are two, nobody knows an address alone.

    Raises:
        ConnectError: It cannot be reached.
    """
    with ExitStack() as stack:
        try:
            transport = stack.enter_context(
                closing(plugins.load("transports", address.scheme).connect(address))
            )
            dialogue = stack.enter_context(closing(Dialogue(transport.start_runner(), name)))
        except BoardError as error:
            raise type(error)(f"{name}: {error.message}", error.hint) from error
        yield dialogue


def start(dialogue: Dialogue, settings: Settings) -> float:
    """Begin to sample; returns that machine's clock less this one's, but for the answer's way here.

    Raises:
        CommandError: There is no such meter, or it does not answer.
    """
    told = dialogue.ask("sample", DEADLINE_S, meter=sampling.order(settings))
    if "error" in told:
        raise CommandError(str(told["error"]))
    return float(told["now_s"]) - time.perf_counter()


def _started(stack: ExitStack, host: Address, taken: Beside) -> Dialogue | None:
    """Whatever fails on the meter's machine is the meter's fault, not the board's."""
    if taken.link is None:
        raise AssertionError("there is a meter")
    try:
        dialogue = stack.enter_context(talk(host, f"the meter's host {host}"))
        taken.here_s = start(dialogue, taken.link.settings)
    except EdgeoptError as error:
        taken.note = f"the meter cannot be read: {error.message}"
        return None
    return dialogue


def _stopped(dialogue: Dialogue, taken: Beside) -> None:
    try:
        told = dialogue.ask("sampled", DEADLINE_S)
    except EdgeoptError as error:
        told = {"error": error.message}
    if "error" in told:
        taken.note = f"the meter cannot be read: {told['error']}"
    else:
        taken.recording = sampling.recording(told)
