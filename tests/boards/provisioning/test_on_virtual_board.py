"""Provisioning for real: a board is prepared, prepared again, cut off, restored.

Stand-ins, since the emulated machine has neither: `/sys/devices/system/cpu/cpufreq` is a tmpfs, and the
Raspberry Pi's `config.txt` and `cmdline.txt` are files that a test writes. The rest is real.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import pytest

from edgeopt.boards.address import Address
from edgeopt.boards.provisioning import steps as every
from edgeopt.boards.provisioning.script import Meter
from edgeopt.boards.transports import ssh
from edgeopt.core.errors import ConnectError
from tests.boards.provisioning.boards import LISTING, PARANOID, Board, run, run_steps, states
from tests.boards.virtual.processes import wait_until

pytestmark = pytest.mark.timeout(900)

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
