"""A physical board: the `Board` that measures through the on-board runner, over any transport."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards import answers, room
from edgeopt.boards import feeds as feeds_files
from edgeopt.boards.board import BoardFacts, Feeds, shapes_of
from edgeopt.boards.complaints import explained
from edgeopt.boards.dialogue import GRACE_S, Dialogue
from edgeopt.boards.facts import BOOT_ID, facts, is_this_machine
from edgeopt.boards.identity import IMAGE
from edgeopt.boards.lease import Claim
from edgeopt.boards.metering.link import METERING_S, Beside, Link, beside
from edgeopt.boards.meters import EnergySource
from edgeopt.boards.reboots import Reboots, run_key, uncontrolled
from edgeopt.boards.transports import Transport
from edgeopt.boards.validity import Speed, Thresholds, of_board
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import (
    BoardError,
    BusyError,
    CandidateFailed,
    CandidateUnsteady,
    CommandError,
    ConfigError,
    ConnectError,
    MeasurementInvalid,
)
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Provenance
from edgeopt.runtimes import litert, onnxruntime

HELLO_DEADLINE_S = 120.0
REQUEST_DEADLINE_S = 1200.0
CLEAN_AFTER_BYTES = 256e6
"""Uploads after which a board is asked to keep its cache within bounds, as it is when it is connected."""
MOST_SOAK_S = 1000.0
"""What the runner may take to warm a board up, and a little more."""
COOLING_POLL_S = 2.0
COOL_ENOUGH_C = 5.0
"""A hot board is measured again once it is so much below its limit."""

LONG_UPLOAD_BYTES = 32_000_000
"""What takes some seconds over a slow network, or to an emulated board: whoever waits is told."""


class RunnerBoard:
    """A board that answers through a transport.

    It connects when it is made, and has the board to itself until it is closed. A connection that is lost
    raises `ConnectError`; the next request connects again, and refuses if another board, kernel or runtime
    answers then. What ran while the board rebooted is tried once more alone; if it reboots again it is at
    fault.

    Raises:
        BusyError: Somebody else has it.
        ConnectError: The board is unreachable, or its Python does not have the runtime.
    """

    provenance: Provenance = "measured"
    pairwise_error: float = 0.0
    counts: bool = False
    """Whether its runner is asked to count inferences instead of timing them."""
    leases: bool = True
    """Whether nobody else may measure on it meanwhile."""
    facts: BoardFacts
    is_this_machine: bool
    clock_error_s: float
    """How far its clock was ahead of the host's when it connected: no latency depends on it."""

    def __init__(
        self,
        name: str,
        device: str,
        open_transport: Callable[[], Transport],
        ceiling_ms: Callable[[Artifact, Mapping[str, tuple[int, ...]]], float | None] = lambda _, __: None,
        observer: Observer | None = None,
        thresholds: Thresholds = Thresholds(),  # noqa: B008 - frozen
        power: Link | None = None,
        claim: Claim | None = None,
    ) -> None:
        """`ceiling_ms`: how long an artifact's arithmetic takes at the board's peak, given the shapes of its
        inputs; None if unknown. `observer` is told of uploads that take long, and of pauses. `thresholds`:
        what makes a measurement invalid. `power`: how its energy is known; None: not at all.
        `claim`: who asks for the board, and how long it waits for it."""
        self.name, self.device = name, device
        self._thresholds, self._power = thresholds, power
        self._speed: Speed | None = None
        self._closed = threading.Event()
        self._open_transport, self._ceiling_ms = open_transport, ceiling_ms
        self._observer = observer or Observer()
        self._transport: Transport | None = None
        self._put_bytes = 0
        self._dialogue: Dialogue | None = None
        self._claim, self._reboots = claim or Claim(), Reboots()
        self._token: int | None = None
        self._python, self._reason, self._bits = "python3", None, 64
        hello = self._connect()
        self.facts, self.is_this_machine = self._facts(hello), is_this_machine(hello)
        self.clock_error_s = float(hello["time_s"]) - time.time()

    def measure(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """See `Board.measure`: again, after a pause, until the protocol's rules hold.

        What cannot fit the board's memory is refused without being uploaded.

        Raises:
            MeasurementInvalid: They did not hold for the board or for the control in any try.
        """
        refused = [room.refusal(artifact, self.facts) for artifact in artifacts]
        if any(refused):
            fitting = [a for a, why in zip(artifacts, refused, strict=True) if why is None]
            measured = iter(self.measure(fitting, feeds, protocol) if fitting else ())
            merged = [why or next(measured) for why in refused]
            # Without its control, nobody is related to another one instead.
            return [uncontrolled(result) for result in merged] if refused[0] else merged
        for artifact in artifacts:
            self._require(artifact.runtime)
        with self._reachable():
            pass  # only now it is known whether it has rebooted
        return self._reboots.measured(artifacts, lambda some: self._valid(some, feeds, protocol), self.name)

    def _valid(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> list[Measurement | CandidateFailed]:
        """Measure until the rules hold, with pauses."""
        limits, why = self._thresholds.under(protocol.setting.name), ""
        for attempt in range(1, limits.tries + 1):
            answer, energy = self._measured(artifacts, feeds, protocol)
            results = answers.measurements(answer, protocol, self.facts.cores, limits, self._speed)
            reasons = of_board(answer["rounds"], self._speed, limits)
            self._speed = Speed.calibrated(answer["rounds"][0], self._thresholds, self._speed)
            wrong = [one for one in results if isinstance(one, Measurement) and one.validity]
            if not reasons and not wrong:
                break
            why = "; ".join(reasons) or wrong[0].validity or ""
            if attempt < limits.tries:
                self._cool_down(f"{why}; try {attempt + 1} of {limits.tries}", answer["rounds"][-1])
        else:
            if reasons or wrong[0] is results[0]:
                raise MeasurementInvalid(
                    f"{self.name} cannot be measured: {why}, in {limits.tries} tries",
                    hint="let the board cool and stop what else runs on it; the same command resumes",
                )
        results = energy.added(results, answer)
        # The control was steady in the same seconds: it is the candidate itself that is not.
        return [
            CandidateUnsteady(f"cannot be measured: {result.validity}, in {limits.tries} tries")
            if isinstance(result, Measurement) and result.validity
            else self._with_roofline(result, artifact, feeds)
            for result, artifact in zip(results, artifacts, strict=True)
        ]

    def _measured(
        self, artifacts: Sequence[Artifact], feeds: Feeds, protocol: MeasuringProtocol
    ) -> tuple[dict[str, Any], Beside]:
        """The runner's answer to one `measure`, and what a meter saw beside it; what the board lacks is
        uploaded when it says so."""
        running = [run_key(artifact) for artifact in artifacts[1:] or artifacts]
        with (
            self._reboots.running(running),
            self._reachable() as dialogue,
            tempfile.TemporaryDirectory() as folder,
            beside(self._power, protocol) as energy,
        ):
            path = Path(folder, "feeds.npz")
            names = feeds_files.write(path, [feeds])
            sha256 = file_digest(path)
            files = {artifact.sha256: artifact.path for artifact in artifacts} | {sha256: path}
            setting = protocol.setting
            paced_s = 1.5 * protocol.min_runs / setting.rate_hz if setting.rate_hz else 0.0
            deadline_s = protocol.deadline_s + paced_s
            soak_s = MOST_SOAK_S if setting.name == "sustained" else 0.0
            for _ in range(2):
                answer: dict[str, Any] = dialogue.ask(
                    "measure",
                    deadline_s,
                    patience_s=deadline_s * protocol.processes * len(artifacts)
                    + soak_s
                    + GRACE_S
                    + METERING_S,
                    is_heard=True,
                    token=self._token,
                    jobs=[job(artifact, sha256, names) for artifact in artifacts],
                    protocol={
                        "processes": protocol.processes,
                        "min_runs": protocol.min_runs,
                        "window_s": protocol.window_s,
                        "slice_s": protocol.slice_s,
                        "stop_ratio": protocol.stop_ratio,
                        "dominated_ratio": protocol.dominated_ratio,
                        "enough_ci": protocol.enough_ci,
                        "soak": setting.name == "sustained",
                        "rate_hz": setting.rate_hz,
                        "load": setting.load,
                        "cpus": list(setting.cpus),
                    },
                    max_temperature_c=self._thresholds.under(setting.name).max_temperature_c,
                    **energy.fields,
                )
                if "missing" not in answer:
                    energy.answered(answer)
                    return answer, energy
                self._put({name: files[name] for name in answer["missing"]})
        raise CommandError(f"{self.name} loses the files that are stored on it", hint="check its storage")

    def _cool_down(self, why: str, state: Mapping[str, Any]) -> None:
        """Wait until the board is cool again, or for as long as its profile says."""
        pause_s, limit = self._thresholds.cooldown_s, self._thresholds.max_temperature_c
        hot = limit is not None and state["temperature_c"] is not None and state["temperature_c"] > limit
        self._observer.announce(f"{self.name}: {why}, after a pause of up to {pause_s:g} s")
        end = time.monotonic() + pause_s
        while (left_s := end - time.monotonic()) > 0:
            if self._closed.wait(min(left_s, COOLING_POLL_S) if hot else left_s):
                raise ConnectError(f"{self.name} is closed")
            if hot and limit is not None:
                with self._reachable() as dialogue:
                    state = dialogue.ask("conditions", REQUEST_DEADLINE_S)
                if state["temperature_c"] <= limit - COOL_ENOUGH_C:
                    return

    @property
    def energy_source(self) -> EnergySource | None:
        """See `Board.energy_source`."""
        return self._power.source if self._power else None

    def compare_with(self, control: Artifact, feeds: Feeds) -> None:
        """See `Board.compare_with`: it makes no difference here."""

    def profile(self, artifact: Artifact, feeds: Feeds, runs: int) -> dict[str, float]:
        """See `Board.profile`.

        Raises:
            CandidateFailed: The artifact cannot be run.
        """
        self._require(artifact.runtime)
        self._require_room(artifact)
        if artifact.runtime == litert.NAME:
            raise CandidateFailed(
                "LiteRT does not tell the times of single operators", hint="profile the ONNX model instead"
            )
        with self._suspected(artifact) as dialogue, tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "feeds.npz")
            names = feeds_files.write(path, [feeds])
            sha256 = self._store([(artifact.path, artifact.sha256)], path)
            times = dialogue.ask(
                "profile", REQUEST_DEADLINE_S, is_heard=True,
                job=job(artifact, sha256, names), runs=runs, token=self._token,
            )  # fmt: skip
        return {str(node): float(time_ms) for node, time_ms in times.items()}

    def infer(self, artifact: Artifact, samples: Iterable[Feeds]) -> Iterator[list[NDArray[np.generic]]]:
        """See `Board.infer`.

        Raises:
            CandidateFailed: The artifact cannot be run.
        """
        self._require(artifact.runtime)
        self._require_room(artifact)
        for group in feeds_files.chunks(samples):
            with tempfile.TemporaryDirectory() as folder:
                asked, answered = Path(folder, "samples.npz"), Path(folder, "outputs.npz")
                names = feeds_files.write(asked, group)
                with self._suspected(artifact) as dialogue:
                    sha256 = self._store([(artifact.path, artifact.sha256)], asked)
                    result = dialogue.ask("infer", REQUEST_DEADLINE_S, job=job(artifact, sha256, names))
                    if self._transport:
                        self._transport.get(result["sha256"], answered)
                yield from feeds_files.read(answered)

    def clean(self, limit_bytes: int = 0) -> int:
        """Remove the files used longest ago until the rest fits; returns how many went."""
        with self._reachable() as dialogue:
            return int(dialogue.ask("clean", REQUEST_DEADLINE_S, limit_bytes=limit_bytes)["removed"])

    @contextlib.contextmanager
    def _suspected(self, artifact: Artifact) -> Iterator[Dialogue]:
        """A conversation in which one artifact runs, unless it reboots the board."""
        key = run_key(artifact)
        with self._reboots.running([key]), self._reachable() as dialogue:
            self._reboots.require(key)
            yield dialogue

    def close(self) -> None:
        self._closed.set()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._dialogue:
            self._dialogue.close()
        if self._transport:
            self._transport.close()
        self._dialogue = self._transport = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _facts(self, hello: Mapping[str, Any]) -> BoardFacts:
        return facts(hello)

    def _connect(self) -> dict[str, Any]:
        try:
            self._transport = self._open_transport()
            hello = self._greeted(self._transport)
            self._speed = Speed.calibrated(hello["conditions"], self._thresholds, self._speed)
            self._python, self._reason = hello["executable"], hello["runtime"].get("error")
            self._bits = hello["bits"]
            if self._reason and not hello["other_runtimes"].get("ai-edge-litert"):
                raise self._lacks(onnxruntime.NAME)
            if self._dialogue:
                self._dialogue.ask("clean", HELLO_DEADLINE_S)
            self._reboots.connected((hello["files"].get(BOOT_ID) or "").strip() or None)
        except BaseException:
            self._disconnect()
            raise
        return hello

    def _greeted(self, transport: Transport) -> dict[str, Any]:
        """Start the runner and ask who the board is.

        Raises:
            BusyError: Somebody else has the board.
            ConnectError, CommandError: It does not start: what is in its way, and what to do about it.
        """
        try:
            self._dialogue = Dialogue(transport.start_runner(), self.name)
            self._token = self._claim.take(self._dialogue, self.name) if self.leases else None
            return dict(self._dialogue.ask("hello", HELLO_DEADLINE_S, counts=self.counts))
        except BusyError:
            raise
        except (ConnectError, CommandError) as error:
            raise explained(error, self.name) from error

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[Dialogue]:
        """A conversation, renewed if the last one broke; whatever breaks this one ends it."""
        if self._dialogue is None:
            now = self._facts(self._connect())
            if now.epoch != self.facts.epoch:
                self._disconnect()
                raise BoardError(
                    f"{self.name} is not the board that it was: {'; '.join(self.facts.changes(now))}",
                    hint="repeat the command: its references are measured again",
                )
        if self._dialogue is None:
            raise ConnectError(f"{self.name} is closed")
        try:
            if self._put_bytes > CLEAN_AFTER_BYTES:
                self._dialogue.ask("clean", REQUEST_DEADLINE_S)
                self._put_bytes = 0
            yield self._dialogue
        except CandidateFailed:
            raise
        except BaseException:  # also Ctrl-C: an answer may still be on its way, and belongs to nobody
            self._disconnect()
            raise

    def _store(self, artifacts: Sequence[tuple[Path, str]], feeds: Path) -> str:
        """Put what the board lacks; returns the name of the feeds there."""
        if self._transport is None or self._dialogue is None:
            raise ConnectError(f"{self.name} is closed")
        wanted = {sha256: path for path, sha256 in artifacts} | {(sha256 := file_digest(feeds)): feeds}
        present = self._dialogue.ask("stat", REQUEST_DEADLINE_S, objects=list(wanted))
        self._put({name: wanted[name] for name in wanted.keys() - set(present)})
        return sha256

    def _put(self, files: Mapping[str, Path]) -> None:
        if self._transport is None:
            raise ConnectError(f"{self.name} is closed")
        for path in files.values():
            if not path.is_file():
                raise ConfigError(f"{path} is missing")
        size_bytes = sum(path.stat().st_size for path in files.values())
        if size_bytes >= LONG_UPLOAD_BYTES and not self.is_this_machine:
            self._observer.announce(f"uploading {size_bytes / 1e6:.0f} MB to {self.name}")
        for name, path in files.items():
            self._put_bytes += path.stat().st_size
            self._transport.put(path, name)

    def _require(self, runtime: str) -> None:
        if runtime not in _RUNTIMES:
            raise ConfigError(f"the on-board runner cannot run {runtime} models")
        if runtime not in self.facts.runtimes:
            raise self._lacks(runtime)

    def _require_room(self, artifact: Artifact) -> None:
        if refused := room.refusal(artifact, self.facts):
            raise refused

    def _lacks(self, runtime: str) -> ConnectError:
        reason = self._reason if runtime == onnxruntime.NAME else "it is not installed"
        if self._bits == 32:
            return ConnectError(
                f"{self.name}: its Python is a 32-bit program and lacks {runtime}", hint=IMAGE
            )
        return ConnectError(
            f"{self.name}: its Python cannot import {runtime}: {reason}",
            hint=f"run on the board: {self._python} -m pip install '{_RUNTIMES[runtime].INSTALL}'; "
            "or name another Python with ?python=/path",
        )

    def _with_roofline(
        self, result: Measurement | CandidateFailed, artifact: Artifact, feeds: Feeds
    ) -> Measurement | CandidateFailed:
        if isinstance(result, CandidateFailed):
            return result
        ceiling_ms = self._ceiling_ms(artifact, shapes_of(feeds))
        return (
            replace(result, roofline_fraction=min(1.0, ceiling_ms / result.p50_ms)) if ceiling_ms else result
        )


_RUNTIMES = {onnxruntime.NAME: onnxruntime, litert.NAME: litert}


def job(artifact: Artifact, feeds: str, names: list[str]) -> dict[str, object]:
    """What the on-board runner is told of an artifact: `feeds` is the name of its inputs there."""
    options = _RUNTIMES[artifact.runtime].runner_options(artifact.session_options)
    return {
        "model": artifact.sha256,
        "feeds": feeds,
        "names": names,
        "runtime": artifact.runtime,
        "options": options,
    }
