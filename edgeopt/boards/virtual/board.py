"""A virtual board: the real runtime on an emulated core, its figures priced from what the core executed."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeopt.boards import feeds as feeds_files
from edgeopt.boards.address import Address
from edgeopt.boards.board import BoardFacts, Feeds, require_threads, shapes_of
from edgeopt.boards.connected import REQUEST_DEADLINE_S
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.facts import facts
from edgeopt.boards.meters import EnergySource
from edgeopt.boards.requests import job
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import Transport
from edgeopt.boards.virtual import counting, kept, truth, version, warming
from edgeopt.boards.virtual.counting import Counts, Segment
from edgeopt.boards.virtual.energy import Power
from edgeopt.boards.virtual.kept import Counted
from edgeopt.boards.virtual.nodes import Event, node_times
from edgeopt.boards.virtual.protocols import Machine, Pricing
from edgeopt.boards.virtual.settled import NODE_STEP, WHOLE_STEP, settled
from edgeopt.core import plugins
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest, value_digest
from edgeopt.core.errors import BoardError, CandidateFailed, ConnectError, MeasurementInvalid
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.profile import DeviceProfile
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Provenance, Quantity
from edgeopt.core.scratch import scratch
from edgeopt.runtimes.feeding import fed

SLOWDOWN = 40.0
"""How many times longer an inference takes the emulator than the board, at most."""

EMULATED_RUNS = 3
"""To load a model, warm up and count it."""

KEPT_COUNTS = 64
MOST_UNKNOWN = 0.02
"""Share of the executed instructions without a known price, beyond which a figure would be a guess."""

READ_AGAIN = 50
"""No two looks at the clock are fewer instructions apart, but for the kernel's loop that repeats one."""

NOT_EXECUTED = ("threads", "allow_spinning")
"""Session options that the guest does not run, for it has one core: they are priced."""

TRIES = 3

DYING_S = 2.0
"""A connection breaks a moment before the emulator that was killed is seen to be gone."""


class VirtualBoard(RunnerBoard):
    """A board that an emulator runs; see `Board`. Its figures do not depend on what else the host does.

    Raises:
        ConnectError: The emulator is gone, or its guest does not answer.
    """

    provenance: Provenance = "emulated"
    counts = True
    leases = False  # what else runs there changes no count, and `Machine.lock` keeps counts apart

    def __init__(
        self,
        machine: Machine,
        profile: DeviceProfile,
        pricing: Pricing,
        ceiling_ms: Callable[[Artifact, Mapping[str, tuple[int, ...]]], float | None] = lambda _, __: None,
        revive: Callable[[], Machine] | None = None,
        end: Callable[[], None] = lambda: None,
        observer: Observer | None = None,
    ) -> None:
        """`revive` starts another machine where this one has died; `end` is called on `close`."""
        self._machine, self._profile, self._pricing = machine, profile, pricing
        self._revive, self._end = revive, end
        self.pairwise_error = pricing.pairwise_error
        self._known: OrderedDict[str, Counted] = OrderedDict()
        self._words: dict[str, tuple[int, ...]] = {}
        self._rules: dict[str, int | None] = {}
        self._believes_kept = True
        self._counting = version.counting(profile), file_digest(machine.packages)
        super().__init__(machine.name, profile.name, self._open, ceiling_ms, observer)
        self.is_this_machine = False  # host work slows it down, and changes nothing

    @classmethod
    def open(
        cls,
        profile: DeviceProfile,
        ceiling_ms: Callable[[Artifact, Mapping[str, tuple[int, ...]]], float | None] = lambda _, __: None,
        observer: Observer | None = None,
        pricing: Pricing | None = None,
    ) -> VirtualBoard:
        """The virtual board of a device that is up, else one that ends with this process.

        `pricing` is the profile's cycle model unless told otherwise.

        Raises:
            ConfigError: The profile does not know enough to emulate the device.
            BoardError: This machine lacks what emulates it, or it does not start.
        """
        from edgeopt.boards.virtual import machine, tools
        from edgeopt.boards.virtual.cycles import CycleModel

        pricing = pricing or CycleModel.of(profile)
        if observer and (remark := tools.other_llvm()):
            observer.announce(remark)
        for running in machine.running():
            if running.device == profile.name:
                if running.made_with != version.machine(profile):
                    raise BoardError(
                        f"{running.name} is up since before its profile or edgeopt changed",
                        hint=f"edgeopt boards down {running.name}; then repeat the command",
                    )
                return cls(running, profile, pricing, ceiling_ms, observer=observer)

        own = [machine.up(profile, keep=False, observer=observer)]

        def revive() -> Machine:
            machine.down(own.pop())
            own.append(machine.up(profile, keep=False, observer=observer))
            return own[0]

        def end() -> None:
            while own:
                machine.down(own.pop())

        try:
            return cls(own[0], profile, pricing, ceiling_ms, revive, end, observer)
        except BaseException:
            end()
            raise

    def measure(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """See `Board.measure`: each artifact is counted once, whatever the protocol's windows are.

        How it is counted (`warming.cache_runs`) follows the one that `compare_with` named, else the first
        artifact with inputs of these shapes: variants that are compared are counted alike.
        """
        if artifacts and _shapes(feeds) not in self._rules:
            self.compare_with(artifacts[0], feeds)
        for artifact in artifacts:
            self.threads(artifact)
        deadline_s = protocol.deadline_s * max(1.0, EMULATED_RUNS * SLOWDOWN / protocol.min_runs)
        results: list[Measurement | CandidateFailed] = []
        control_ms: float | None = None
        for index, artifact in enumerate(artifacts):
            try:
                counted = self._counted(artifact, feeds, deadline_s)
            except CandidateFailed as failed:
                results.append(failed)
                continue
            result = self._measurement(artifact, counted, protocol)
            control_ms = result.p50_ms if index == 0 else control_ms
            ratio = result.p50_ms / control_ms if control_ms else None
            results.append(self._with_roofline(replace(result, control_ratio=ratio), artifact, feeds))
        return results

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        """See `Board.compare_with`: from now on, artifacts with such inputs are counted as this one is."""
        self._rules[_shapes(feeds)] = self._rule(control, feeds)

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        """See `Board.profile`; one run is all.

        Raises:
            CandidateFailed: The artifact cannot be run.
            MeasurementInvalid: What was counted cannot be told apart by node.
        """
        del runs
        threads = self.threads(artifact)
        whole = self._pricing.price(self._counted(artifact, feeds, REQUEST_DEADLINE_S).counts, threads)
        for tries_left in reversed(range(TRIES)):
            anew = tries_left < TRIES - 1
            counted = self._counted(artifact, feeds, REQUEST_DEADLINE_S, profile=True, anew=anew)
            segments_ms = self._pricing.price(counted.counts, threads).segments_ms
            try:
                times = node_times(counted.events, segments_ms, whole.latency.value)
                return {node: settled(ms, NODE_STEP) for node, ms in times.items()}
            except MeasurementInvalid:
                if not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    def threads(self, artifact: Artifact) -> int:
        """Threads that an artifact runs on: 0 or nothing said is the runtime's default, every core.

        Raises:
            ConfigError: More than there are cores.
        """
        asked = artifact.session_options.get("threads")
        threads = asked if isinstance(asked, int) and asked > 0 else self._pricing.cores
        require_threads(threads, self._pricing.cores, self.name)
        return threads

    def forget(self) -> None:
        """Count everything anew: what was counted before, here or by anybody, is not believed any more."""
        self._known.clear()
        self._rules.clear()
        self._believes_kept = False

    def close(self) -> None:
        super().close()
        self._end()

    def _measurement(self, artifact: Artifact, counted: Counted, protocol: MeasuringProtocol) -> Measurement:
        threads = self.threads(artifact)
        estimate = self._pricing.price(counted.counts, threads)
        scale = settled(estimate.latency.value, WHOLE_STEP) / (estimate.latency.value or 1.0)
        source = truth.source(self._profile, artifact.runtime, threads)
        peak_bytes, runtime_bytes = counted.peak_rss_bytes, counted.runtime_rss_bytes
        unpriced = estimate.unknown > MOST_UNKNOWN
        return Measurement(
            latency=replace(_scaled(estimate.latency, scale), source=source),
            validity=f"{estimate.unknown:.0%} of what it executes has no known price" if unpriced else None,
            peak_rss_bytes=peak_bytes,
            model_rss_bytes=None if runtime_bytes is None else max(0, peak_bytes - runtime_bytes),
            energy_mj=_scaled(estimate.energy_mj, scale) if estimate.energy_mj else None,
            power_w=estimate.power_w,
            cpu_utilization=estimate.cpu_utilization,
            protocol=protocol.name,
        )

    def _counted(
        self, artifact: Artifact, feeds: Feeds, deadline_s: float, profile: bool = False, anew: bool = False
    ) -> Counted:
        """What was counted once is not counted again, unless `anew`."""
        shapes = _shapes(feeds)
        rule = self._rules[shapes] if shapes in self._rules else self._rule(artifact, feeds)
        cache_runs = 0 if profile and rule is None else rule
        key = self._key(artifact, feeds, profile, cache_runs)
        if anew:
            self._known.pop(key, None)
        if key not in self._known:
            known = kept.recall(key) if self._believes_kept and not anew else None
            counted = known or self._count(artifact, feeds, deadline_s, profile, cache_runs)
            words = {block: self._words.setdefault(block, w) for block, w in counted.counts.blocks.items()}
            if known is None:
                # By segment only where it is asked for: a whole is no few clock reads apart.
                counts = Counts(words, _once_read(counted.counts))
                counts = counts if profile else Counts(words, (counts.total,))
                kept.keep(key, replace(counted, counts=counts))
            else:
                counts = Counts(words, counted.counts.segments)
            self._known[key] = replace(counted, counts=counts)
            while len(self._known) > KEPT_COUNTS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _count(
        self, artifact: Artifact, feeds: Feeds, deadline_s: float, profile: bool, cache_runs: int | None
    ) -> Counted:
        self._require(artifact.runtime)
        self._require_room(artifact)
        if not self._machine.alive:
            self._disconnect()  # the next connection is to another, or says that there is none
        single = replace(artifact, session_options={**artifact.session_options, "threads": 1})
        with (
            self._suspected(artifact) as dialogue,
            scratch() as folder,
            self._machine.lock(self._waiting),
        ):
            path = folder / "feeds.npz"
            names = feeds_files.write(path, [fed(artifact.interface, feeds)])
            # From here on nothing counts but this: a client that died may have left a count behind. Nor can
            # anybody empty the cache between upload and count.
            dialogue.ask("claim", REQUEST_DEADLINE_S)
            sha256 = self._store([(artifact.path, artifact.sha256)], path)
            for left in self._written():
                left.unlink(missing_ok=True)
            answer = dialogue.ask(
                "count", deadline_s, job=job(single, sha256, names), cache_runs=cache_runs, profile=profile
            )
            counts = self._own_counts(answer["starts"])
        return Counted(
            counts,
            tuple(Event(*event) for event in answer["events"]),
            answer["peak_rss_bytes"],
            answer["runtime_rss_bytes"],
        )

    def _waiting(self) -> None:
        self._observer.announce(f"waiting for {self.name}: another command is counting on it")

    def _own_counts(self, starts: int) -> Counts:
        written = self._written()
        if len(written) != starts:
            raise BoardError(
                f"{self.name}: the emulator wrote {len(written)} counts where {starts} were taken",
                hint=f"is there room in {self._machine.counts}? edgeopt boards down and up starts it anew",
            )
        try:
            return counting.read(written[0])
        finally:
            written[0].unlink(missing_ok=True)

    def _written(self) -> list[Path]:
        return [path for path in self._machine.counts.glob("c.*") if path.suffix[1:].isdigit()]

    def _rule(self, artifact: Artifact, feeds: Feeds) -> int | None:
        single = replace(artifact, session_options={**artifact.session_options, "threads": 1})
        largest = max(cache.size_bytes for cache in self._pricing.caches)
        return warming.cache_runs(
            artifact.size_bytes,
            largest,
            lambda: self._ceiling_ms(single, shapes_of(fed(single.interface, feeds))),
        )

    def _key(self, artifact: Artifact, feeds: Feeds, profile: bool, cache_runs: int | None) -> str:
        """All that a count depends on."""
        options = {k: v for k, v in artifact.session_options.items() if k not in NOT_EXECUTED}
        return value_digest(
            self._counting,
            artifact.sha256,
            artifact.runtime,
            options,
            feeds_files.digest(fed(artifact.interface, feeds)),
            profile,
            cache_runs,
        )

    def _open(self) -> Transport:
        if not self._machine.alive:
            if self._revive is None:
                raise self._gone()
            self._machine = self._revive()
        address = Address.parse(self._machine.url)
        transport: Transport = plugins.load("transports", address.scheme).connect(address)
        return transport

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[Dialogue]:
        """As `RunnerBoard._reachable`; who loses a dead emulator is told so, and what to do."""
        try:
            with super()._reachable() as dialogue:
                yield dialogue
        except BoardError as error:
            end = time.monotonic() + DYING_S
            while self._machine.alive:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            raise self._gone() from error

    def _gone(self) -> ConnectError:
        again = f"edgeopt boards up {self._profile.name}; then repeat the command"
        return ConnectError(
            f"{self._machine.name} is gone: its emulator has ended or was killed",
            hint="repeat the command" if self._revive else again,
        )

    @property
    def energy_source(self) -> EnergySource | None:
        """See `Board.energy_source`."""
        return "model" if Power.of(self._profile) else None

    def _facts(self, hello: Mapping[str, Any]) -> BoardFacts:
        """As the runner says, but with the device's cores; its figures change with the profile, too."""
        found = facts(hello)
        emulation = version.emulation(self._profile, file_digest(self._machine.packages))
        return replace(
            found,
            cores=self._pricing.cores,
            core_parts=found.core_parts[:1] * self._pricing.cores,
            kernel=f"{found.kernel} emulated {emulation}",
        )


def _scaled(figure: Quantity, factor: float) -> Quantity:
    return replace(figure, value=figure.value * factor, low=figure.low * factor, high=figure.high * factor)


def _once_read(counts: Counts) -> tuple[Segment, ...]:
    """The segments but those in which the clock was read again, as the kernel had set it meanwhile."""
    inner = (part for part in counts.segments[1:-1] if counts.instructions_of(part) >= READ_AGAIN)
    return (counts.segments[0], *inner, *counts.segments[1:][-1:])


def _shapes(feeds: Feeds) -> str:
    return value_digest(shapes_of(feeds))
