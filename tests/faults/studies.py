"""Whole studies in trouble: `edgeopt optimize` on a board over SSH, with a fault in the middle of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.transports import ssh
from edgeopt.core.trial import Trial
from edgeopt.study.read import read
from tests.boards.virtual.processes import wait_until
from tests.e2e.contract import check_error, check_result
from tests.e2e.program import Program, Ran, Running
from tests.faults.bench import STAND_IN, Bench, stop

CANDIDATES = 2
REFERENCES = {
    "float16-storage", "int8-dynamic", "int8-static-per-channel", "int8-static-per-tensor",
}  # fmt: skip
DYNAMIC = "DynamicQuantizeMatMul"
"""What is in a file of dynamic int8, and in no other."""


class Study:
    """One command, in trouble and repeated; what its runs say together must be one study."""

    def __init__(self, bench: Bench, edgeopt: Program, out: Path, wait: str = "5m") -> None:
        self.bench, self._edgeopt, self.out = bench, edgeopt, out
        self.command = edgeopt.optimizing(
            "net.onnx", "--data", "data.npz", "--board", bench.url, "--threads", 1, "--sampler", "random",
            "--budget", f"{CANDIDATES} trials", "--max-drop", "90%", "--wait", wait, "-o", out,
        )  # fmt: skip
        self.told: list[int] = []
        self.saved: tuple[Trial, ...] = ()

    def start(self) -> Running:
        return self._edgeopt.start(*self.command)

    def in_mid_measurement(self, running: Running) -> None:
        """Some trials are done, and the next is on the board."""
        assert running.reaches("trial   2 "), running.err
        wait_until(lambda: bool(self.bench.children()) or running.process.poll() is not None, 120)
        assert running.process.poll() is None, running.err

    def ended(self, ran: Ran) -> None:
        """A run is over, however it ended: nothing is told twice, and what was saved stays as it was."""
        assert "Traceback" not in ran.err
        assert not set(ran.told) & set(self.told), (ran.told, self.told)
        self.told += ran.told
        now = read(self.out).trials
        assert now[: len(self.saved)] == self.saved
        self.saved = now

    def check_whole(self, ran: Ran, failed: Sequence[str]) -> None:
        """The same trials as without the trouble, each once, each figure that of real samples."""
        check_result(ran.document)
        trials = {trial.number: trial for trial in self.saved}
        assert sorted(trials) == list(range(ran.document["trials"]))
        assert read(self.out).running == ()
        assert len({trial.candidate for trial in trials.values()}) == len(trials)
        names = [trial.name for trial in trials.values() if trial.kind == "reference"]
        assert set(names) >= REFERENCES
        assert len(set(names)) == len(names)
        fallen = [trial for trial in trials.values() if trial.state == "FAILED"]
        assert set(failed) <= {trial.name for trial in fallen}, failed
        if failed:  # and whom the search gave the same
            assert all("int8_dynamic" in dict(trial.candidate.decisions).values() for trial in fallen), fallen
        else:
            assert not fallen, fallen
        assert all(trial.measurement is None for trial in fallen)
        measured = [trial for trial in trials.values() if trial.measurement and trial.replay_of is None]
        assert [trial.kind for trial in measured].count("candidate") == CANDIDATES
        assert ran.document["measured"] == len(list((self.out / "samples").glob("*.npy")))
        for trial in measured:
            assert trial.measurement
            taken = trial.measurement.latencies_ms
            assert len(taken) >= 8
            assert 0 < min(taken) <= trial.measurement.p50_ms <= max(taken)
            assert trial.measurement.provenance == "measured"


def nothing(_: Study) -> None:
    pass


@dataclass(frozen=True)
class Trouble:
    """One way to disturb a study.

    Attributes:
        cause: What happens in the middle of it, once a model has been loaded.
        code: What the run that meets it exits with: 0 where it waits and goes on.
        says: Pattern in what it says.
        prepare: What is so from the start.
        heal: Takes the cause away after a run that has ended.
        failed: Names of the trials that fail.
        wait: For how long the study waits for an unreachable board.
    """

    cause: Callable[[Study, Running], object]
    code: int = 0
    says: str = ""
    prepare: Callable[[Study], object] = field(default=nothing)
    heal: Callable[[Study], object] = field(default=nothing)
    failed: Sequence[str] = ()
    wait: str = "5m"

    @property
    def outcome(self) -> str:
        """In words."""
        if self.failed:
            return f"{', '.join(self.failed)} fails, all others are measured"
        ends = {0: "goes on by itself", -9: "resumed by the same command"}
        return ends.get(self.code, f"exit {self.code}, everything saved; resumed by the same command")


def check(study: Study, trouble: Trouble) -> None:
    """Paused or ended as it should be, resumed to the same study, and nothing is left on the board."""
    trouble.prepare(study)
    running = study.start()
    study.in_mid_measurement(running)
    trouble.cause(study, running)
    ran = running.wait()
    assert ran.code == trouble.code, ran.err
    assert re.search(trouble.says, ran.err), ran.err
    study.ended(ran)
    if ran.code > 0:
        check_error(ran.document)
    trouble.heal(study)
    if ran.code:
        ran = study.start().wait()
        assert ran.code == 0, ran.err
        study.ended(ran)
    study.check_whole(ran, trouble.failed)
    left = study.bench.leftovers()
    assert left == [], left


def told_to_wait(study: Study, running: Running) -> None:
    assert running.reaches("is unreachable; trying for"), running.err


def connection_cut(study: Study, running: Running) -> None:
    study.bench.proxy.reset()
    told_to_wait(study, running)


def cable_pulled(study: Study, running: Running) -> None:
    study.bench.proxy.silent = True
    told_to_wait(study, running)
    study.bench.proxy.heal()


def board_away(study: Study, running: Running) -> None:
    study.bench.sshd.kill()
    told_to_wait(study, running)
    time.sleep(4)  # more than one try fails
    study.bench.sshd.start()


def board_stays_away(study: Study, _: Running) -> None:
    study.bench.sshd.kill()


def host_killed(_: Study, running: Running) -> None:
    running.process.kill()


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(1 << 12))


def hosts_disk_full(study: Study, _: Running) -> None:
    fill(study.out.parent)


def hosts_disk_free(study: Study) -> None:
    (study.out.parent / "ballast").unlink()


def boards_disk(study: Study) -> None:
    from tests.faults.storage import mount

    mount(study.bench, "size=4m")


def boards_disk_full(study: Study, _: Running) -> None:
    fill(study.bench.sshd.home / ".cache")


def boards_disk_free(study: Study) -> None:
    (study.bench.sshd.home / ".cache" / "ballast").unlink()


def boards_disk_read_only(study: Study, _: Running) -> None:
    folder = study.bench.sshd.home / ".cache"
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def boards_disk_writable(study: Study) -> None:
    subprocess.run(["umount", "-l", study.bench.sshd.home / ".cache"], check=True)


def another_host_key(study: Study, _: Running) -> None:
    from tests.faults.network import change_key

    change_key(study.bench)


def the_host_key_back(study: Study) -> None:
    from tests.faults.network import give_the_key_back

    give_the_key_back(study.bench)


def runner_killed(study: Study, running: Running) -> None:
    os.kill(study.bench.runners()[0], signal.SIGKILL)


def runner_stopped(study: Study, running: Running) -> None:
    stop(study.bench.runners()[0])
    told_to_wait(study, running)


def taken_away(study: Study, _: Running) -> None:
    with (
        contextlib.closing(ssh.connect(study.bench.address)) as there,
        contextlib.closing(there.start_runner()) as channel,
    ):
        Dialogue(channel, "kitchen").ask("unlock", 30, owner="bob@lab", force=True)


def slow_and_lossy(study: Study, _: Running) -> None:
    study.bench.proxy.bytes_per_s, study.bench.proxy.stall_s = 400_000, 0.2


def go_on(*_: object) -> None:
    """What the board does is trouble enough."""


def dynamic_models(deed: str) -> Callable[[Study], None]:
    """All models of dynamic int8 do this on the board."""

    def prepare(study: Study) -> None:
        faults = f"STAND_IN_FAULTS='{DYNAMIC}={deed}' PYTHONPATH={STAND_IN}"
        study.bench.write_python(f'{faults} exec {sys.executable} "$@"')

    return prepare


ONE = ("int8-dynamic",)
TROUBLES = {
    "connection cut": Trouble(connection_cut, says="is unreachable; trying for"),
    "cable pulled": Trouble(cable_pulled),
    "board away for a while": Trouble(board_away),
    "board stays away": Trouble(
        board_stays_away, 4, "cannot connect to|does not answer", heal=lambda study: study.bench.sshd.start(),
        wait="3s",
    ),
    "host killed": Trouble(host_killed, -9),
    "host's disk full": Trouble(hosts_disk_full, 1, "No space left|no space left", heal=hosts_disk_free),
    "board's disk full": Trouble(
        boards_disk_full, 4, "No space left", prepare=boards_disk, heal=boards_disk_free
    ),
    "board's disk read-only": Trouble(
        boards_disk_read_only, 4, "Read-only|read-only", prepare=boards_disk, heal=boards_disk_writable
    ),
    "host key changed": Trouble(another_host_key, 4, "has changed", heal=the_host_key_back),
    "runner killed": Trouble(runner_killed, says="its runner was killed|is unreachable; trying for"),
    "runner stopped": Trouble(runner_stopped),
    "board taken away": Trouble(taken_away, 4, "bob@lab has taken it away"),
    "slow and lossy network": Trouble(slow_and_lossy),
    "candidate crashes": Trouble(go_on, prepare=dynamic_models("run exit"), failed=ONE),
    "candidate raises": Trouble(go_on, prepare=dynamic_models("always raise"), failed=ONE),
    "candidate hangs": Trouble(go_on, says="too long", prepare=dynamic_models("run spin"), failed=ONE),
    "candidate is refused memory": Trouble(go_on, prepare=dynamic_models("load starve"), failed=ONE),
    "candidate leaves daemons": Trouble(go_on, prepare=dynamic_models("run fork-and-exit"), failed=ONE),
    "candidate prints garbage": Trouble(go_on, prepare=dynamic_models("run garbage"), failed=ONE),
    "candidate fills stdout": Trouble(go_on, prepare=dynamic_models("run endless-answer"), failed=ONE),
    "candidate kills its runner": Trouble(go_on, prepare=dynamic_models("run kill-runner"), failed=ONE),
}  # fmt: skip


@contextlib.contextmanager
def disk(folder: Path):
    """A small disk for the results; its folder where nobody may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    )
    try:
        yield folder, mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)
