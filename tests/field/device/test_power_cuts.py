"""A machine loses its power while it installs or goes back, and all that was not synchronised yet.

A virtual board is reset through its emulator: its file system (ext4 with a journal, as on most boards) keeps
what had reached the disk. What a disk may do to itself without power is not simulated.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import machine, recipe
from edgeopt.boards.virtual.running import SSH_CONFIG, Running
from edgeopt.core.errors import ConnectError
from tests.field.device.agents import SCRIPT, STAND_IN, Agent
from tests.field.device.packages import Vendor
from tests.field.device.test_killed import COUNTED

HEAD = "PYTHONPATH=$HOME/stand_in PYTHONDONTWRITEBYTECODE=1 python3"
AGENT = "agent.py --root $HOME/device"
INSTALLS, ROLLBACKS = 48, 16
BACK_S = 300.0


class Board:
    """A virtual board with a device in its user's home."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.say("mkdir -p stand_in/onnxruntime-1.20.0.dist-info")
        for path in (*STAND_IN.glob("*.py"), *STAND_IN.glob("*/METADATA")):
            self.put(path, f"stand_in/{path.relative_to(STAND_IN)}")
        self.put(SCRIPT, "agent.py")
        self.put(Path(COUNTED), "counted.py")

    def say(self, command: str, stdin: bytes = b"") -> str:
        with contextlib.closing(ssh.connect(Address.parse(self.running.url))) as shell:
            return shell.run(command, 240.0, stdin).stdout.strip()

    def put(self, path: Path, name: str) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with contextlib.closing(ssh.connect(Address.parse(self.running.url))) as shell:
            shell.put(path, digest)
            assert shell.run(f"cp .cache/edgeopt/objects/{digest} {name}", 60.0).status == 0

    def do(self, words: str, stdin: bytes = b"") -> dict:
        return json.loads(self.say(f"{HEAD} {AGENT} {words}", stdin).splitlines()[-1])

    def cut(self, words: str, step: int) -> None:
        """Take the power away at a step of a command, and wait until the board is back."""
        command = ["ssh", "-F", str(self.running.folder / SSH_CONFIG), recipe.HOST]
        before = self.boot_id()
        line = f"{HEAD} counted.py {step} stop {AGENT} {words}"
        with subprocess.Popen([*command, line], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout
            said = process.stdout.readline()
            assert said == b"AT\n", said
            with self.running.qmp() as qmp:
                qmp.system_reset()
            process.kill()
        end = time.monotonic() + BACK_S
        while self.boot_id() in ("", before):
            assert time.monotonic() < end, "the board does not come back"
            time.sleep(0.5)

    def boot_id(self) -> str:
        try:
            return self.say("cat /proc/sys/kernel/random/boot_id")
        except ConnectError:
            return ""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many steps there are, counted on this machine."""
    folder = tmp_path_factory.mktemp("steps")
    agent = Agent(folder / "device").trusts(Vendor())
    found = {}
    for counter in (1, 2, 3):
        package = Vendor().package(folder / f"{counter}.edgepkg", counter, pad=300_000)
        if counter == 3:
            agent.before = (COUNTED, str(folder / "log"), "count")
        agent.good("install", package)
    found["install"] = (folder / "log").stat().st_size
    agent.good("rollback", "--to", "2")
    found["rollback"] = (folder / "log").stat().st_size
    return found


@pytest.fixture
def board(images: Path) -> Iterator[Board]:
    running = machine.up(profiles.load("rpi4"), ram_bytes=256 << 20)
    yield Board(running)
    machine.down(running)


@pytest.mark.parametrize(
    ("installs", "rollbacks"), [(1, 1), pytest.param(INSTALLS, ROLLBACKS, marks=pytest.mark.long)]
)
@pytest.mark.timeout(7200)
def test_after_every_power_cut_a_verified_version_serves(
    board: Board, steps: dict[str, int], tmp_path: Path, installs: int, rollbacks: int
) -> None:
    vendor = Vendor()
    assert board.do("trust", stdin=vendor.roots[0])["trust"] == "installed"
    counter = 0

    def bring() -> str:
        nonlocal counter
        counter += 1
        board.put(vendor.package(tmp_path / f"{counter}.edgepkg", counter, pad=300_000), f"{counter}.edgepkg")
        return f"install {counter}.edgepkg"

    for _ in range(2):
        assert board.do(bring())["state"] == "good"
    board.say("sync")
    today = int(hashlib.sha256(time.strftime("%Y-%m-%d").encode()).hexdigest(), 16)
    served = 2
    for number in range(installs):
        at = (number * steps["install"] // installs + today % max(1, steps["install"] // installs)) + 1
        board.cut(bring(), min(at, steps["install"]))
        served = served_by(board, {served, counter}, f"install, step {at}")
    if served != counter:
        assert board.do(f"install {counter}.edgepkg")["counter"] == counter  # no manual step is needed
    other = next(one["counter"] for one in board.do("status")["versions"] if one["counter"] != counter)
    pair, served = {counter, other}, counter
    for number in range(rollbacks):
        at = (number * steps["rollback"] // rollbacks + today % max(1, steps["rollback"] // rollbacks)) + 1
        (aim,) = pair - {served}
        board.cut(f"rollback --to {aim}", min(at, steps["rollback"]))
        served = served_by(board, pair, f"rollback, step {at}")
    (aim,) = pair - {served}
    assert board.do(f"rollback --to {aim}")["counter"] == aim


def served_by(board: Board, allowed: set[int], when: str) -> int:
    """What serves after a boot: undamaged, and one of two versions."""
    booted = board.do("boot")
    assert booted.get("counter") in allowed, (when, booted)
    assert booted["state"] == "good", (when, booted)
    model = json.loads(board.say("tr -d '\\0' < device/current/model.onnx"))
    assert model == {"add": booted["counter"]}, when
    return int(booted["counter"])
