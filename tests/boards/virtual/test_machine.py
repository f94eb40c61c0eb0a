"""A virtual board that is up: what it is, how it is reached, what it cannot do."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.connect import open_board
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import locks, machine, qemu
from edgeopt.boards.virtual.running import SSH_CONFIG, Running
from edgeopt.core.errors import ConfigError, ConnectError
from tests.boards.virtual.processes import is_there


@contextlib.contextmanager
def entered(url: str) -> Iterator[ssh.SshTransport]:
    with contextlib.closing(ssh.connect(Address.parse(url))) as transport:
        yield transport


@pytest.fixture(scope="module")
def shell(virtual_board: Running) -> Iterator[ssh.SshTransport]:
    with entered(virtual_board.url) as transport:
        yield transport


@pytest.fixture(scope="module")
def root(virtual_board: Running) -> Iterator[ssh.SshTransport]:
    with entered(virtual_board.root_url) as transport:
        yield transport


def said(shell: ssh.SshTransport, command: str) -> str:
    result = shell.run(command, 120.0)
    assert result.status == 0, result.stderr
    return result.stdout.strip()


def test_the_on_board_runner_finds_the_device_that_the_profile_describes(virtual_board: Running) -> None:
    profile = profiles.load("rpi4")
    opened = open_board("board", profile, Address.parse(virtual_board.url), lambda _, __: [])
    with contextlib.closing(opened):
        facts = opened.facts
        assert facts.model == profile.title
        assert profile.get("cpu", "part") in facts.core_parts
        assert set(profile.get("cpu", "features")) <= set(facts.features)
        assert facts.machine == "aarch64"
        assert facts.ram_bytes is not None
        assert 0.85 < facts.ram_bytes / virtual_board.ram_bytes <= 1
        assert facts.runtimes.keys() >= {"onnxruntime", "litert"}
        assert not opened.is_this_machine


def test_models_run_as_an_unprivileged_user(shell: ssh.SshTransport) -> None:
    assert said(shell, "id -un") == "board"
    assert shell.run("touch /etc/x").status != 0
    assert said(shell, "touch ~/x && stat -c %U ~ ~/x") == "board\nboard"
    assert said(shell, "stat -c %U / /etc/passwd /usr/bin/python3") == "root\nroot\nroot"
    assert shell.run("cat /etc/ssh/ssh_host_ed25519_key").status != 0


def test_faults_can_be_caused_as_root(root: ssh.SshTransport) -> None:
    assert said(root, "id -u") == "0"
    assert (
        said(root, "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root && echo ok") == "ok"
    )


def test_the_same_program_takes_the_same_path(shell: ssh.SshTransport) -> None:
    assert said(shell, "echo $PYTHONHASHSEED $ORT_DISABLE_TELEMETRY") == "0 1"
    assert said(shell, "cat /proc/sys/kernel/randomize_va_space") == "0"
    assert said(shell, "nproc") == "1"


def test_its_clock_is_right_although_it_was_saved(shell: ssh.SshTransport) -> None:
    import time

    assert abs(float(said(shell, "date +%s")) - time.time()) < 120


@pytest.mark.parametrize("target", ["10.0.2.2", "10.0.2.3", "1.1.1.1", "2606:4700:4700::1111"])
def test_nothing_outside_answers_it(root: ssh.SshTransport, target: str) -> None:
    """Not even with a route: tried are the host as the guest sees it, its name server, and the internet."""
    attempt = (
        "ip route replace default via 10.0.2.2; python3 -c '"
        "import socket, sys\n"
        "for port in (22, 53, 80, 443):\n"
        "    try:\n"
        f'        socket.create_connection(("{target}", port), 2); print("reached", port)\n'
        "    except OSError: pass\n"
        "'; ip route del default"
    )
    assert said(root, attempt) == ""


def test_names_are_not_looked_up(root: ssh.SshTransport) -> None:
    question = "000101000001000000000000076578616d706c6503636f6d0000010001"
    ask = (
        "python3 -c '"
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3)\n"
        f's.sendto(bytes.fromhex("{question}"), ("10.0.2.3", 53))\n'
        "try: print(s.recv(512))\n"
        "except OSError: pass\n"
        "'"
    )
    assert said(root, ask) == ""


def test_another_host_key_is_refused(virtual_board: Running, tmp_path: Path) -> None:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + secrets.token_bytes(32)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"edgeopt-virtual ssh-ed25519 {base64.b64encode(blob).decode()}\n")
    config = tmp_path / SSH_CONFIG
    lines = (virtual_board.folder / SSH_CONFIG).read_text().splitlines()
    lines = [f"    UserKnownHostsFile {known_hosts}" if "UserKnownHosts" in line else line for line in lines]
    config.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConnectError, match="host key of edgeopt-virtual has changed"):
        ssh.connect(Address.parse(f"ssh://edgeopt-virtual?config={config}"))


def test_a_person_enters_it_with_the_command_that_is_shown(virtual_board: Running) -> None:
    import subprocess

    entered = subprocess.run(
        [*virtual_board.ssh.split(), "-o", "BatchMode=yes", "uname -m"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (entered.returncode, entered.stdout) == (0, "aarch64\n"), entered.stderr


def test_it_listens_on_loopback_only(virtual_board: Running) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    at_port = [
        row[1] for row in listening if row[1].endswith(f":{virtual_board.port:04X}") and row[3] == "0A"
    ]
    assert at_port == [f"0100007F:{virtual_board.port:04X}"]


def test_its_files_are_the_users_alone(virtual_board: Running) -> None:
    assert virtual_board.folder.stat().st_mode & 0o077 == 0
    key = Path((virtual_board.folder / SSH_CONFIG).read_text().split("IdentityFile")[1].split('"')[1])
    assert key.stat().st_mode & 0o077 == 0


def test_one_counts_at_a_time(virtual_board: Running) -> None:
    assert virtual_board.counts.is_dir()
    with virtual_board.lock():
        assert not locks.is_free(virtual_board.folder / "counting.lock")
    assert locks.is_free(virtual_board.folder / "counting.lock")


def test_it_runs_unprivileged_on_one_core(virtual_board: Running) -> None:
    assert is_there(virtual_board.pid)
    arguments = Path(f"/proc/{virtual_board.pid}/cmdline").read_bytes().split(b"\0")
    assert arguments[arguments.index(b"-smp") + 1] == b"1"
    assert Path(f"/proc/{virtual_board.pid}").stat().st_uid == os.getuid()


def test_a_private_board_is_nobody_elses(virtual_board: Running) -> None:
    assert not virtual_board.kept
    assert virtual_board not in machine.running()


@pytest.mark.parametrize(("device", "why"), [("local", "no kind of board")])
def test_what_is_no_board_cannot_be_virtual(device: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        machine.up(profiles.load(device))


@pytest.mark.parametrize("ram_bytes", [1, 100 << 20, 9 << 30])
def test_memory_that_no_such_board_has_is_refused(ram_bytes: int) -> None:
    with pytest.raises(ConfigError, match="MiB of memory"):
        machine.up(profiles.load("rpi4"), ram_bytes=ram_bytes)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match="port"):
        machine.up(profiles.load("rpi4"), port=port)


def test_every_board_whose_core_is_known_can_be_emulated() -> None:
    emulated = {name for name in profiles.names() if profiles.load(name).get("emulation", "llvm_core")}
    assert {"rpi-zero2w", "rpi3bplus", "rpi4", "rpi5"} <= emulated
    for name in emulated:
        profile = profiles.load(name)
        made = machine.machine_of(profile)
        assert made.core in ("cortex-a53", "cortex-a72", "cortex-a76")
        assert made.ram_bytes == min(min(profile.get("memory", "ram_bytes")), 1 << 30)
        assert made.title == profile.title


def test_another_machine_has_another_identity() -> None:
    one = qemu.Machine("cortex-a72", 1 << 30, "A")
    others = [
        qemu.Machine("cortex-a53", 1 << 30, "A"),
        qemu.Machine("cortex-a72", 1 << 29, "A"),
        qemu.Machine("cortex-a72", 1 << 30, "B"),
    ]
    assert len({one.identity(), *(other.identity() for other in others)}) == 4
    assert one.identity() == qemu.Machine("cortex-a72", 1 << 30, "A").identity()
