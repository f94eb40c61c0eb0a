"""Provisioning for real: a board is prepared, prepared again, cut off, restored.

Stand-ins, since the emulated machine has neither: `/sys/devices/system/cpu/cpufreq` is a tmpfs, and the
Raspberry Pi's `config.txt` and `cmdline.txt` are files that a test writes. The rest is real.
"""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.lease import Claim
from edgeopt.boards.provisioning import steps as every
from edgeopt.boards.provisioning.provision import Action, Outcome, provision, reboot
from edgeopt.boards.provisioning.script import Meter, Settings
from edgeopt.boards.provisioning.steps import Step
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.running import Running
from edgeopt.core.errors import BoardError, BusyError, ConnectError
from tests.boards.virtual.processes import wait_until
from tests.faults.bench import at_once

pytestmark = pytest.mark.timeout(900)

PASSWORD = "correct-horse-7c1f"
PARANOID = "/proc/sys/kernel/perf_event_paranoid"
PI = "mkdir -p /boot/firmware; printf 'arm_64bit=1\\n[pi4]\\narm_boost=1\\n' > /boot/firmware/config.txt; "
CMDLINE = (
    "mkdir -p /boot/firmware; printf 'console=tty1 root=/dev/vda rootwait\\n' > /boot/firmware/cmdline.txt; "
)
SWAP = (
    "dd if=/dev/zero of=/swap bs=1M count=8 status=none; chmod 600 /swap; "
    "mkswap -q /swap && swapon -p 7 /swap || exit; "
)
CPUFREQ = (
    "mkdir -p /run/cpu; cp -r /sys/devices/system/cpu/. /run/cpu/ 2> /dev/null; "
    "mkdir -p /run/cpu/cpufreq/policy0; "
    "cd /run/cpu/cpufreq/policy0; echo ondemand > scaling_governor; "
    "echo conservative ondemand performance > scaling_available_governors; "
    "mount --bind /run/cpu /sys/devices/system/cpu; "
)
LISTING = (
    "find / -xdev ! -path '/var/log/*' ! -path '/var/lib/sudo/*' ! -path '*/.cache*' ! -name '*-' "
    "! -name .pwd.lock ! -name 'sub?id*' ! -name edgeopt.lease -type f -printf '%p %s %m %U %G\\n' | sort; "
    "find /home /boot /etc /var/lib -xdev ! -path '*/.cache*' -type d 2> /dev/null | sort; "
    f"cat {PARANOID} /proc/swaps /etc/passwd /etc/shadow /etc/group /boot/firmware/* 2> /dev/null || :"
)


class Board:
    """A virtual board of one test, and root's way into it."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def root(self, command: str) -> str:
        with contextlib.closing(ssh.connect(Address.parse(self.running.root_url))) as shell:
            done = shell.run(command, 120.0)
        assert done.status == 0, done.stderr
        return done.stdout

    def allow_sudo(self, user: str = "board") -> None:
        """Give the user a password that sudo wants; Debian's own maintainer scripts would have set up PAM."""
        pam = "".join(
            f"printf '%s required pam_unix.so\\n' {kind} > /etc/pam.d/common-{name}; "
            for kind, name in [
                ("auth", "auth"), ("account", "account"), ("password", "password"),
                ("session", "session"), ("session", "session-noninteractive"),
            ]
        )  # fmt: skip
        self.root(
            f"{pam} groupadd -f sudo; usermod -aG sudo {user}; echo '{user}:{PASSWORD}' | chpasswd -c SHA512"
        )


@pytest.fixture
def board(virtual_board: Running, images: Path) -> Iterator[Board]:
    running = machine.up(profiles.load("rpi4"))
    yield Board(running)
    machine.down(running)


@pytest.fixture
def unleased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the runner for the lease takes an emulated core longer than a step does.

    That it is taken is seen in `test_alone`, and here where a board is prepared as a whole.
    """
    monkeypatch.setattr("edgeopt.boards.provisioning.provision.alone", lambda _: contextlib.nullcontext())


def run(
    url: str, action: Action, names: Sequence[str], password: str | None = None, **settings: object
) -> Outcome:
    steps = [step for step in every.all_steps() if step.name in names]
    return run_steps(url, action, steps, password, **settings)


def run_steps(
    url: str, action: Action, steps: Sequence[Step], password: str | None = None, **settings: object
) -> Outcome:
    address = Address.parse(url)
    login = address.user or "board"
    told = replace(
        Settings.of(login, login, litert=False, from_index=False, meter=None),
        **settings,  # type: ignore[arg-type]
    )
    ask: Callable[[], str] | None = None if password is None else lambda: password
    return provision(address, steps, told, action, ask)


def states(outcome: Outcome) -> dict[str, str]:
    return {result.step.name: result.state for result in outcome.results}


def test_done_again_nothing_changes_and_undone_all_is_as_before(
    board: Board, request: pytest.FixtureRequest
) -> None:
    board.root(PI + CMDLINE + SWAP + CPUFREQ)
    before = board.root(LISTING)
    names = ["cgroup", "governor", "i2c", "perf", "swap", "user"]
    told = {"measure_user": "edgeopt", "meter": Meter("ina219", 1, 0x40, 0.1)}
    url = board.running.root_url

    seen = run(url, "check", names, **told)
    assert states(seen) == dict.fromkeys(names, "would-change")
    assert board.root(LISTING) == before

    done = run(url, "do", names, **told)
    assert states(done) == dict.fromkeys(names, "changed"), [r.reason for r in done.results]
    assert [r.changes for r in done.results] == [r.changes for r in seen.results]
    assert len(done.reboots) == 2
    assert any("weakens" in note for result in done.results for note in result.notes)
    assert board.root(f"cat {PARANOID} /etc/sysctl.d/90-edgeopt-perf.conf").split()[0] == "2"
    assert board.root("cat /sys/devices/system/cpu/cpufreq/policy0/scaling_governor") == "performance\n"
    assert len(board.root("cat /proc/swaps").splitlines()) == 1
    assert board.root("cat /boot/firmware/config.txt").splitlines()[-4:] == [
        "# edgeopt: I2C bus of the power meter", "[all]", "dtparam=i2c_arm=on", "# edgeopt: end",
    ]  # fmt: skip
    assert board.root("cat /boot/firmware/cmdline.txt").split()[-1] == "cgroup_enable=memory"
    assert "echo 100000 >" in board.root("cat /usr/local/lib/edgeopt/attach-meter")
    with contextlib.closing(ssh.connect(replace(Address.parse(url), user="edgeopt"))) as shell:
        assert shell.run("id -un; id -nG; pwd").stdout.split() == ["edgeopt", "edgeopt", "/home/edgeopt"]
        assert shell.run("sudo -n true").status != 0

    request.getfixturevalue("unleased")
    prepared = board.root(LISTING)
    again = run(url, "do", names, **told)
    assert states(again) == dict.fromkeys(names, "unchanged")
    assert len(again.reboots) == 2  # it still has not been rebooted
    assert board.root(LISTING) == prepared

    undone = run(url, "undo", names, **told)
    assert states(undone) == dict.fromkeys(names, "restored"), [r.reason for r in undone.results]
    assert board.root(LISTING) == before
    assert board.root("cat /sys/devices/system/cpu/cpufreq/policy0/scaling_governor") == "ondemand\n"
    assert board.root("cat /proc/swaps").split()[-5:] == ["/swap", "file", "8188", "0", "7"]
    assert states(run(url, "undo", names, **told)) == dict.fromkeys(names, "unchanged")
    assert board.root(LISTING) == before


def test_without_rights_what_needs_them_is_named_and_left_alone(board: Board, unleased: None) -> None:
    board.allow_sudo()
    before = board.root(LISTING)
    done = run(board.running.url, "do", ["perf", "swap", "watchdog"])
    assert states(done) == dict.fromkeys(["perf", "swap", "watchdog"], "needs-root")
    assert "cannot be counted" in str(done.results[0].reason)
    checked = run(board.running.url, "check", ["perf", "watchdog"])
    assert states(checked) == {"perf": "would-change", "watchdog": "not-applicable"}
    with pytest.raises(BoardError, match="sudo refuses: the password is wrong") as refusal:
        run(board.running.url, "do", ["perf", "swap"], "wrong")
    assert "wrong\n" not in str(refusal.value)
    assert board.root(LISTING) == before
    board.root("gpasswd -d board sudo")
    with pytest.raises(BoardError, match="sudo refuses: board is not in the sudoers file"):
        run(board.running.url, "do", ["perf"], PASSWORD)


def test_a_password_goes_to_sudo_and_nowhere_else(board: Board, tmp_path: Path, unleased: None) -> None:
    board.allow_sudo()
    # Everything that any process was started with, here and there, while it runs.
    look_there = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null"
    watch = f"while [ ! -e /run/enough ]; do {look_there} || :; done > /run/seen"
    here: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    here.append(file.read_bytes())

    looking = [threading.Thread(target=look), threading.Thread(target=board.root, args=(watch,))]
    for thread in looking:
        thread.start()
    done = run(board.running.url, "do", ["perf"], PASSWORD)
    over.set()
    board.root("touch /run/enough")
    for thread in looking:
        thread.join()
    assert states(done) == {"perf": "changed"}
    assert board.root(f"cat {PARANOID}") == "2\n"
    assert b"edgeopt" in b"".join(here)
    assert PASSWORD.encode() not in b"".join(here)
    found = board.root(
        "grep -c 'sudo -k -S' /run/seen; "
        f"grep -rl {PASSWORD} / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev --exclude-dir=usr || :"
    )
    assert int(found.split()[0]) > 0
    assert found.split()[1:] == []
    assert subprocess.run(["grep", "-rl", PASSWORD, tmp_path], capture_output=True, check=False).stdout == b""


@pytest.mark.long  # a silent board is noticed when a step's time is over
def test_a_cable_that_is_pulled_in_mid_run_is_said_and_the_next_run_goes_on(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt.boards.provisioning.provision.STEP_TIMEOUT_S", 30.0)
    monkeypatch.setattr("edgeopt.boards.provisioning.provision.ALIVE_TIMEOUT_S", 5.0)
    url = board.running.root_url
    # The step has begun, and waits for somebody else's.
    board.root("flock /run/edgeopt-provision.lock sleep 50 > /dev/null 2>&1 < /dev/null &")

    def pull() -> None:
        wait_until(lambda: "do perf" in board.root("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
        with board.running.qmp() as emulator:
            emulator.set_link(up=False)

    pulling = threading.Thread(target=pull)
    pulling.start()
    with pytest.raises(ConnectError):
        run(url, "do", ["perf"])
    pulling.join()
    with board.running.qmp() as emulator:
        emulator.set_link(up=True)
    monkeypatch.setattr("edgeopt.boards.provisioning.provision.STEP_TIMEOUT_S", 150.0)
    monkeypatch.setattr("edgeopt.boards.provisioning.provision.ALIVE_TIMEOUT_S", 20.0)
    assert states(run(url, "do", ["perf"]))["perf"] in ("changed", "unchanged")
    assert board.root(f"cat {PARANOID}") == "2\n"
    assert states(run(url, "do", ["perf"])) == {"perf": "unchanged"}
    run(url, "undo", ["perf"])
    assert board.root(f"cat {PARANOID}") == "3\n"


def test_killed_between_record_and_change_it_is_resumed_with_the_first_record(
    board: Board, unleased: None
) -> None:
    url = board.running.root_url
    (step,) = (step for step in every.all_steps() if step.name == "perf")
    dying = replace(
        step, script=step.script.replace('  echo "$PERF_WANTED" >', '  kill -9 0\n  echo "$PERF_WANTED" >')
    )
    assert dying != step
    with pytest.raises(ConnectError):
        run_steps(url, "do", [dying])
    assert board.root(f"cat {PARANOID} /var/lib/edgeopt/provision/perf/value") == "3\n3\n"
    board.root(f"echo 4 > {PARANOID}")  # not what was there before
    assert states(run(url, "do", ["perf"])) == {"perf": "changed"}
    run(url, "undo", ["perf"])
    assert board.root(f"cat {PARANOID}") == "3\n"


def test_a_step_that_fails_says_why_and_the_others_go_on(board: Board, unleased: None) -> None:
    board.root(CPUFREQ + "mount -o bind,ro /run/cpu/cpufreq/policy0 /sys/devices/system/cpu/cpufreq/policy0")
    done = run(board.running.root_url, "do", ["governor", "perf"])
    assert states(done) == {"governor": "failed", "perf": "changed"}
    assert "Read-only file system" in str(done.results[0].reason)
    assert done.failed == done.results[:1]


def test_swap_that_memory_cannot_take_stays(board: Board, unleased: None) -> None:
    """Nobody fills a real swap here: the kernel's figure of free memory is replaced by another."""
    board.root(
        f"{SWAP} sed 's/^MemAvailable:.*/MemAvailable:       0 kB/' /proc/meminfo > /run/meminfo && "
        "mount --bind /run/meminfo /proc/meminfo && grep MemAvailable /proc/meminfo"
    )
    done = run(board.running.root_url, "do", ["swap"])
    assert states(done) == {"swap": "failed"}
    assert "only 0 MiB of memory are free" in str(done.results[0].reason)
    assert "/swap" in board.root("cat /proc/swaps")


@pytest.mark.long  # pip takes an emulated core a minute: see test_wheels_sent
def test_an_environment_is_made_from_wheels_that_are_sent(board: Board, unleased: None) -> None:
    """Of a small package, by a pip that was sent too, since this Debian has no ensurepip."""
    told = {"requirements": ("packaging",), "modules": ("packaging",)}
    url = board.running.url
    before = board.root("find /home -type f | sort")
    done = run(url, "do", ["runtime"], **told)
    assert states(done) == {"runtime": "changed"}, done.results[0].reason
    assert done.python == "/home/board/.local/share/edgeopt/runtime/bin/python"
    assert done.url.endswith(f"?python={done.python}&config={board.running.folder}/ssh_config")
    assert board.root(f"{done.python} -c 'import packaging; print(packaging.__file__)'").startswith(
        "/home/board/.local"
    )
    assert states(run(url, "do", ["runtime"], **told)) == {"runtime": "unchanged"}
    board.root(f"rm -r {Path(done.python).parent.parent}/lib/python3.11/site-packages/packaging")
    assert states(run(url, "check", ["runtime"], **told)) == {"runtime": "would-change"}
    assert states(run(url, "undo", ["runtime"], **told)) == {"runtime": "restored"}
    left = set(board.root("find /home -type f | sort").split()) - set(before.split())
    assert {Path(name).parts[4] for name in left} == {"edgeopt"}  # ~/.cache/edgeopt
    assert all(name.startswith("/home/board/.cache/edgeopt/") for name in left)


def test_without_pip_and_wheels_the_package_is_named(board: Board, unleased: None) -> None:
    done = run(board.running.url, "do", ["runtime"], from_index=True)
    assert states(done) == {"runtime": "failed"}
    assert "sudo apt-get install python3-venv" in str(done.results[0].reason)
    assert "runtime" not in board.root("ls /home/board/.local/share/edgeopt 2> /dev/null || :")


BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
SLOW_SYSTEMD = (
    "mkdir -p /run/systemd/system /usr/local/sbin; cd /usr/local/sbin; "
    "printf '#!/bin/sh\\ntouch /run/going; (sleep 20; busybox reboot -f) > /dev/null 2>&1 < /dev/null &\\n' "
    "> systemctl; "
    "chmod +x systemctl; sync; "
)
"""A stand-in, for the emulated machine has no systemd: it answers at once, and goes down a while later."""


@contextlib.contextmanager
def measuring(board: Board, owner: str) -> Iterator[str]:
    """Somebody has the board, of this boot."""
    with contextlib.closing(ssh.connect(Address.parse(board.running.url))) as there:
        dialogue = Dialogue(there.start_runner(), "kitchen")
        try:
            Claim(owner=owner, command="edgeopt measure").take(dialogue, "kitchen")
            yield there.run(BOOT_ID).stdout
        finally:
            dialogue.close()


def test_a_board_is_rebooted_and_waited_for(board: Board) -> None:
    url = board.running.root_url
    boot = board.root(BOOT_ID)
    reboot(Address.parse(url), None)
    assert board.root(BOOT_ID) != boot
    with pytest.raises(BoardError, match="needs root"):
        reboot(Address.parse(board.running.url), None)


@pytest.mark.long  # it goes down slowly
def test_a_board_is_rebooted_by_one_who_has_it_until_it_is_gone(board: Board) -> None:
    url = board.running.root_url
    board.root(SLOW_SYSTEMD)
    boot = board.root(BOOT_ID)
    with measuring(board, "bob@lab"), pytest.raises(BusyError, match="in use by bob@lab"):
        reboot(Address.parse(url), None)
    assert board.root(BOOT_ID) == boot

    refused: list[str] = []

    def try_to_measure() -> None:
        """Again and again, while it goes down."""
        with contextlib.suppress(ConnectError):
            while True:
                with pytest.raises(BusyError) as busy, measuring(board, "bob@lab"):
                    pass
                refused.append(busy.value.message)

    with at_once(lambda: "going" in board.root("ls /run"), try_to_measure):
        reboot(Address.parse(url), None)
    assert refused
    assert board.root(BOOT_ID) != boot
    with measuring(board, "bob@lab") as now:  # nothing of the lease has outlived the boot
        assert now != boot


def test_the_command_asks_once_at_the_terminal(board: Board) -> None:
    board.allow_sudo()
    command = [
        sys.executable, "-m", "edgeopt", "boards", "provision", board.running.url,
        "--only", "perf,swap", "--ask-sudo", "--json",
    ]  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    said = b""
    with contextlib.suppress(OSError):  # the other side of a terminal that is gone
        while part := os.read(terminal, 4096):
            said += part
            if said.endswith(b"password of sudo on the board: "):
                time.sleep(0.1)
                os.write(terminal, PASSWORD.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert said.count(b"password of sudo") == 1
    assert PASSWORD.encode() not in said
    assert b'"changed": true' in said


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_the_real_runtime_measures_afterwards(board: Board) -> None:
    done = run(board.running.url, "do", ["runtime"])
    assert states(done) == {"runtime": "changed"}, done.results[0].reason
    version = board.root(f"{done.python} -c 'import onnxruntime; print(onnxruntime.__version__)'")
    assert version.startswith("1.2")
