"""Every transport passes the conformance suite on a real board."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from edgeopt.boards.address import Address
from edgeopt.core import plugins
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CommandError, ConfigError, ConnectError
from edgeopt.testing import transports as conformance
from tests.boards.virtual.processes import wait_until
from tests.faults.proxy import Proxy
from tests.sshd import Sshd


@pytest.mark.parametrize("scheme", plugins.names("transports"))
def test_examples_are_addresses_of_the_transport(scheme: str) -> None:
    conformance.check_examples(scheme)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_local_conforms(check, tmp_path: Path) -> None:
    with contextlib.closing(plugins.load("transports", "local").connect(Address.parse("local"))) as transport:
        check(transport, tmp_path)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_ssh_conforms(check, tmp_path: Path, sshd: Sshd) -> None:
    with contextlib.closing(_connect(sshd)) as transport:
        check(transport, tmp_path)


def test_local_takes_no_host_and_wants_a_python_that_exists() -> None:
    connect = plugins.load("transports", "local").connect
    with pytest.raises(ConfigError, match="this machine"):
        connect(Address.parse("local://elsewhere"))
    with pytest.raises(ConfigError, match="no Python at /nowhere"):
        connect(Address.parse("local://?python=/nowhere"))


def test_a_file_that_changed_after_its_hash_was_taken_is_not_stored(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"new")
    transport = plugins.load("transports", "local").connect(Address.parse("local"))
    with pytest.raises(CommandError, match="changed after it was built"):
        transport.put(tmp_path / "model", "a" * 64)
    assert list((Path.home() / ".cache/edgeopt/objects").iterdir()) == []


def test_an_object_that_was_damaged_on_the_board_is_sent_again(tmp_path: Path, sshd: Sshd) -> None:
    source, sha256 = _source(tmp_path)
    with contextlib.closing(_connect(sshd)) as transport:
        transport.put(source, sha256)
        (sshd.objects / sha256).write_bytes(b"bit rot")
        transport.put(source, sha256)
    assert file_digest(sshd.objects / sha256) == sha256


def test_a_broken_transfer_continues_where_it_stopped(tmp_path: Path, sshd: Sshd) -> None:
    source, sha256 = _source(tmp_path)
    sshd.objects.mkdir(parents=True)
    content = source.read_bytes()
    (sshd.objects / f"{sha256}.part").write_bytes(content[:1000])
    source.write_bytes(b"!" * 1000 + content[1000:])  # only the rest is read
    with contextlib.closing(_connect(sshd)) as transport:
        transport.put(source, sha256)
    assert [path.name for path in sshd.objects.iterdir()] == [sha256]


def test_a_damaged_partial_transfer_is_begun_again(tmp_path: Path, sshd: Sshd) -> None:
    source, sha256 = _source(tmp_path)
    sshd.objects.mkdir(parents=True)
    (sshd.objects / f"{sha256}.part").write_bytes(b"not the beginning of it")
    with contextlib.closing(_connect(sshd)) as transport:
        transport.put(source, sha256)
    assert file_digest(sshd.objects / sha256) == sha256


def test_two_who_upload_the_same_at_once_do_not_disturb_each_other(tmp_path: Path, sshd: Sshd) -> None:
    source, sha256 = _source(tmp_path, megabytes=8)
    proxy = Proxy(sshd.port)
    with (Path.home() / ".ssh" / "known_hosts").open("a") as file:
        file.write(sshd.known_hosts_line.replace(str(sshd.port), str(proxy.port)))
    url = sshd.url.replace(str(sshd.port), str(proxy.port))
    failed: list[BaseException] = []

    def put_slowly() -> None:
        try:
            with contextlib.closing(plugins.load("transports", "ssh").connect(Address.parse(url))) as slow:
                proxy.bytes_per_s = 4e6
                slow.put(source, sha256)
        except BaseException as error:
            failed.append(error)

    def half_of_it() -> list[Path]:
        return [path for path in sshd.objects.glob("*.part") if path.stat().st_size > 1 << 20]

    uploading = threading.Thread(target=put_slowly)
    uploading.start()
    wait_until(lambda: bool(half_of_it()), 30)
    proxy.silent = True
    with contextlib.closing(_connect(sshd)) as fast:
        fast.put(source, sha256)
    stored = sshd.objects / sha256
    assert file_digest(stored) == sha256
    there = stored.stat().st_ino
    proxy.silent, proxy.bytes_per_s = False, None
    uploading.join(60)
    proxy.close()
    assert failed == []
    assert [path.name for path in sshd.objects.iterdir()] == [sha256]
    assert stored.stat().st_ino == there  # nobody has appended to it, nor had to send it again
    assert file_digest(stored) == sha256


def test_where_there_is_no_flock_uploads_are_whole_too(tmp_path: Path, sshd: Sshd) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "sha256sum", "cat", "wc", "mv", "rm", "cp", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    sshd.kill()
    sshd.config.write_text(sshd.config.read_text().replace("SetEnv ", f"SetEnv PATH={tools} "))
    sshd.start()
    source, sha256 = _source(tmp_path)
    with contextlib.closing(_connect(sshd)) as transport:
        assert transport.run("command -v flock").status != 0
        transport.put(source, sha256)
    assert [path.name for path in sshd.objects.iterdir()] == [sha256]


def test_a_full_disk_on_the_board_is_a_command_error(tmp_path: Path, sshd: Sshd) -> None:
    source, sha256 = _source(tmp_path)
    sshd.objects.mkdir(parents=True)
    (sshd.objects / f"{sha256}.part").symlink_to("/dev/full")
    with (
        contextlib.closing(_connect(sshd)) as transport,
        pytest.raises(CommandError, match="No space left on device"),
    ):
        transport.put(source, sha256)
    assert list(sshd.objects.iterdir()) == []


def test_a_connection_that_dies_is_a_connect_error_everywhere(tmp_path: Path, sshd: Sshd) -> None:
    source, sha256 = _source(tmp_path)
    with contextlib.closing(_connect(sshd)) as transport:
        channel = transport.start_runner()
        sshd.kill()
        assert channel.receive(30.0) == b""
        for request in (
            lambda: transport.run("true"),
            lambda: transport.put(source, sha256),
            lambda: transport.get(sha256, tmp_path / "back"),
            transport.start_runner,
        ):
            with pytest.raises(ConnectError):
                request()


def _connect(sshd: Sshd):
    return plugins.load("transports", "ssh").connect(Address.parse(sshd.url))


def _source(folder: Path, megabytes: int = 0) -> tuple[Path, str]:
    source = folder / "source"
    source.write_bytes(os.urandom(megabytes << 20) or bytes(range(256)) * 4000)
    return source, file_digest(source)
