"""A release to devices over real SSH, with the real agent: what is sent, what is kept, what is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.boards.inventory import Inventory
from edgeopt.boards.transports import _ssh_connection, ssh
from edgeopt.field.deliver import Delivery, Patience
from edgeopt.field.device import Target
from edgeopt.field.fleet import targets
from edgeopt.field.many import Stop
from edgeopt.field.outcome import Outcome
from edgeopt.field.parcel import Parcel
from edgeopt.field.watching import FleetObserver
from tests.field.fleet.devices import FieldDevice, Fleet
from tests.field.fleet.releases import keyring, release

Make = Callable[[int], Fleet]
MB = 1 << 20


class Watching(FleetObserver):
    """Remembers what was said, and does something once so much has been sent."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.phases: list[str] = []

    def announce(self, line: str) -> None:
        self.lines.append(line)

    def phase(self, name: str, phase: str) -> None:
        self.phases.append(phase)


def deliver(device: FieldDevice, package: Path, trust: Path | None = None, wait_s: float = 0.0) -> Outcome:
    (target,) = targets([device.name], [], Inventory.load())
    root = (trust / "root.pub.json").read_bytes() if trust else None
    patience = Patience(wait_s, 60.0)
    return Delivery(target, Parcel.open(package), root, patience, Watching(), Stop()).run()


@pytest.fixture
def device(make_fleet: Make) -> FieldDevice:
    fleet = make_fleet(1)
    fleet.name_them()
    return fleet[0]


def test_install_update_and_nothing_left_to_do(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    one, two = (release(tmp_path / f"{n}.edgepkg", trust, n) for n in (1, 2))
    first = deliver(device, one, trust)
    assert (first.state, first.counter, first.variant, first.previous) == ("updated", 1, "host", None), first
    assert device.serves == 1
    again = deliver(device, one)
    assert (again.state, again.sent_bytes) == ("current", 0)
    second = deliver(device, two)
    assert (second.state, second.counter, second.previous) == ("updated", 2, 1), second
    # The golden inputs are those of the release before: what is there by hash is not sent again.
    shared = next(one for one in Parcel.open(two).files if one.path == "golden/inputs.npz").length
    assert first.sent_bytes - second.sent_bytes >= shared


def test_a_downgrade_is_refused(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    one, two = (release(tmp_path / f"{n}.edgepkg", trust, n) for n in (1, 2))
    assert deliver(device, two, trust).state == "updated"
    refused = deliver(device, one)
    assert (refused.state, refused.exit_code, refused.sent_bytes) == ("failed", 6, 0), refused
    assert device.serves == 2


def test_wrong_outputs_leave_what_served_before(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    assert deliver(device, release(tmp_path / "1.edgepkg", trust, 1), trust).state == "updated"
    bad = deliver(device, release(tmp_path / "2.edgepkg", trust, 2, wrong=True))
    assert bad.state == "failed", bad
    assert bad.reason
    assert "\n" not in bad.reason
    assert device.serves == 1


def test_a_device_of_somebody_else_refuses(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    keyring(theirs)
    assert deliver(device, release(tmp_path / "1.edgepkg", theirs, 1), theirs).state == "updated"
    ours = release(tmp_path / "2.edgepkg", trust, 2)
    for given in (trust, None):
        refused = deliver(device, ours, given)
        assert (refused.state, refused.exit_code, refused.sent_bytes) == ("failed", 6, 0), refused
    assert device.serves == 1


def test_without_a_root_nothing_is_installed(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    refused = deliver(device, release(tmp_path / "1.edgepkg", trust, 1))
    assert (refused.state, refused.exit_code) == ("failed", 6), refused
    assert device.serves is None


def test_a_device_that_lacks_what_is_needed_says_what(
    device: FieldDevice, trust: Path, tmp_path: Path
) -> None:
    refused = deliver(device, release(tmp_path / "1.edgepkg", trust, 1, runtime_range=">=99"), trust)
    assert (refused.state, refused.exit_code, refused.sent_bytes) == ("failed", 3, 0), refused
    assert ">=99" in str(refused.reason)


def test_a_cut_transfer_goes_on_where_it_stopped(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    package = release(tmp_path / "1.edgepkg", trust, 1, ballast_bytes=8 * MB)
    proxy = device.behind_a_network()
    name_again(device)
    proxy.cut_after_bytes = 5 * MB
    cut = deliver(device, package, trust)
    assert (cut.state, cut.kind) == ("unreached", "connect"), cut
    proxy.heal()
    whole = deliver(device, package)
    assert whole.state == "updated", whole
    assert whole.sent_bytes < 6 * MB
    assert device.serves == 1


def test_a_cable_pulled_and_put_back_in_mid_transfer(
    device: FieldDevice, trust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "STALL_LIMIT_S", 2.0)
    monkeypatch.setattr(_ssh_connection, "ANSWER_TIMEOUT_S", 4.0)
    package = release(tmp_path / "1.edgepkg", trust, 1, ballast_bytes=6 * MB)
    proxy = device.behind_a_network()
    name_again(device)

    class Pulling(Watching):
        def sending(self, name: str, sent_bytes: int, total_bytes: int) -> None:
            if sent_bytes > 2 * MB and not self.lines:
                proxy.silent = True
                self.lines.append("pulled")

        def announce(self, line: str) -> None:  # that it is tried again
            proxy.heal()

    (target,) = targets([device.name], [], Inventory.load())
    root = (trust / "root.pub.json").read_bytes()
    outcome = Delivery(target, Parcel.open(package), root, Patience(60.0), Pulling(), Stop()).run()
    assert outcome.state == "updated", outcome
    assert outcome.sent_bytes < 12 * MB


def name_again(device: FieldDevice) -> None:
    """boards.toml with the address behind the network."""
    from edgeopt.boards.inventory import user_file

    file = user_file()
    file.unlink()
    fleet = Fleet.__new__(Fleet)
    fleet.devices = [device]
    fleet.name_them()


def test_a_full_disk_is_said_and_harms_nothing(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    one = release(tmp_path / "1.edgepkg", trust, 1)
    device.root.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", device.root], capture_output=True, check=False
    ).returncode:
        pytest.skip("only root may mount a disk to fill it")
    try:
        assert deliver(device, one, trust).state == "updated"
        full = deliver(device, release(tmp_path / "2.edgepkg", trust, 2, ballast_bytes=8 * MB))
        assert (full.state, full.exit_code) == ("failed", 4), full
        assert "disk" in str(full.reason)
        assert device.serves == 1
        small = deliver(device, release(tmp_path / "3.edgepkg", trust, 3))
        assert small.state == "updated", small
    finally:
        subprocess.run(["umount", "-l", device.root], check=True)


def test_a_device_that_is_off_is_not_reached(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    package = release(tmp_path / "1.edgepkg", trust, 1)
    device.sshd.kill()
    off = deliver(device, package, trust)
    assert (off.state, off.exit_code, off.kind) == ("unreached", 4, "connect")


def test_a_stranger_at_its_address_gets_nothing(device: FieldDevice, trust: Path, tmp_path: Path) -> None:
    (Path.home() / ".ssh" / "known_hosts").unlink()
    refused = deliver(device, release(tmp_path / "1.edgepkg", trust, 1), trust, wait_s=30.0)
    assert (refused.state, refused.exit_code) == ("unreached", 4)
    assert "host key" in str(refused.reason)
    assert not device.root.exists()


def test_the_agent_alone_says_what_is_amiss(device: FieldDevice) -> None:
    from edgeopt.core.errors import CommandError
    from edgeopt.field.device import Device

    (target,) = targets([device.name], [], Inventory.load())
    without = Target(target.name, target.address.using(python="/no/such/python"), target.root)
    with Device(without) as opened, pytest.raises(CommandError, match="status ended with 127") as refusal:
        opened.ask("status")
    assert "python" in str(refusal.value.hint)


def test_a_host_that_is_killed_in_mid_transfer_resumes(
    device: FieldDevice, trust: Path, tmp_path: Path
) -> None:
    package = release(tmp_path / "1.edgepkg", trust, 1, ballast_bytes=8 * MB)
    proxy = device.behind_a_network()
    name_again(device)
    proxy.bytes_per_s = 4 * MB
    command = [
        sys.executable, "-m", "edgeopt", "deploy", package, "--board", device.name, "--trust", trust,
    ]  # fmt: skip
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while proxy.carried < 3 * MB and killed.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    proxy.heal()
    before = proxy.carried
    assert deliver(device, package).state == "updated"
    assert proxy.carried - before < 7 * MB
