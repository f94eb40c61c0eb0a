"""Who is trusted, who is let in, and the ways there: on real SSH servers."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeopt.boards import hostkeys
from edgeopt.boards.address import Address
from edgeopt.boards.transports import _ssh_connection, ssh
from edgeopt.core.errors import ConfigError, ConnectError
from tests.sshd import BINARY, Sshd, free_port, make_key

MakeSshd = Callable[[str], Sshd]


def whoami(url: str) -> str:
    """Log in and say whose home it is: each server gives its users another one."""
    with closing(ssh.connect(Address.parse(url))) as transport:
        return transport.run('printf %s "$HOME"').stdout


@pytest.fixture
def stranger(make_sshd: MakeSshd) -> Sshd:
    """A running server that nobody has enrolled."""
    return make_sshd("stranger")


# ---------------------------------------------------------------- host keys


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_how_to_enroll(stranger: Sshd) -> None:
    with pytest.raises(ConnectError, match="is unknown") as refusal:
        whoami(stranger.url)
    assert stranger.fingerprint in refusal.value.message
    expected = f"edgeopt boards enroll '{stranger.address}' --fingerprint {stranger.fingerprint}"
    assert expected in str(refusal.value.hint)
    assert refusal.value.exit_code == 4
    assert not (Path.home() / ".ssh" / "known_hosts").exists()


def test_the_users_known_hosts_count_as_enrolled_hashed_too(stranger: Sshd) -> None:
    file = Path.home() / ".ssh" / "known_hosts"
    file.write_text(stranger.known_hosts_line)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "127.0.0.1" not in file.read_text()
    file.write_text("# a comment\nnonsense\n@cert-authority * ssh-ed25519 AAAA\n" + file.read_text())
    assert whoami(stranger.url) == str(stranger.home)


def test_a_changed_host_key_is_refused(sshd: Sshd) -> None:
    assert whoami(sshd.url) == str(sshd.home)
    sshd.kill()
    before = sshd.fingerprint
    sshd.host_key.unlink()
    make_key(sshd.host_key)
    sshd.start()
    with pytest.raises(ConnectError, match="has changed") as refusal:
        whoami(sshd.url)
    assert before in refusal.value.message
    assert sshd.fingerprint in refusal.value.message


def test_a_host_that_offers_another_kind_of_key_than_the_known_one_has_changed(sshd: Sshd) -> None:
    sshd.kill()
    make_key(sshd.folder / "rsa", kind="rsa")
    sshd.config.write_text(sshd.config.read_text().replace(str(sshd.host_key), str(sshd.folder / "rsa")))
    sshd.start()
    with pytest.raises(ConnectError, match="has changed: it offers ssh-rsa"):
        whoami(sshd.url)


def test_of_several_host_keys_the_known_one_is_asked_for(sshd: Sshd) -> None:
    sshd.kill()
    rsa = make_key(sshd.folder / "rsa", kind="rsa")
    sshd.config.write_text(f"HostKey {rsa}\n" + sshd.config.read_text())
    sshd.start()
    (Path.home() / ".ssh" / "known_hosts").write_text(
        f"[127.0.0.1]:{sshd.port} {(sshd.folder / 'rsa.pub').read_text()}"
    )
    assert whoami(sshd.url) == str(sshd.home)


def test_a_revoked_key_is_refused_even_where_another_line_trusts_it(sshd: Sshd) -> None:
    with (Path.home() / ".ssh" / "known_hosts").open("a") as file:
        file.write("@revoked " + sshd.known_hosts_line)
    with pytest.raises(ConnectError, match="revoked"):
        whoami(sshd.url)


def test_enroll_without_a_fingerprint_says_what_is_offered_and_trusts_nothing(stranger: Sshd) -> None:
    with pytest.raises(ConnectError, match="offers") as refusal:
        hostkeys.enroll(stranger.address, None)
    assert stranger.fingerprint in refusal.value.message
    with pytest.raises(ConnectError, match="is unknown"):
        whoami(stranger.url)


def test_enroll_with_another_fingerprint_is_refused(stranger: Sshd) -> None:
    with pytest.raises(ConnectError, match="has no host key SHA256:AAAA"):
        hostkeys.enroll(stranger.address, "SHA256:AAAA")
    with pytest.raises(ConnectError, match="is unknown"):
        whoami(stranger.url)


def test_enroll_with_the_fingerprint_trusts_that_host_and_keeps_the_others(
    stranger: Sshd, make_sshd: MakeSshd
) -> None:
    other = make_sshd("other")
    for server in (other, stranger, stranger):
        hostkeys.enroll(server.address, server.fingerprint)
    assert whoami(stranger.url) == str(stranger.home)
    assert whoami(other.url) == str(other.home)
    file = Path(os.environ["EDGEOPT_HOME"]) / "known_hosts"
    assert len(file.read_text().splitlines()) == 2
    assert {path.name for path in file.parent.iterdir()} == {"known_hosts", "devices"}  # the fixture's


def test_enroll_replaces_a_key_that_has_changed(stranger: Sshd) -> None:
    hostkeys.enroll(stranger.address, stranger.fingerprint)
    stranger.kill()
    stranger.host_key.unlink()
    make_key(stranger.host_key)
    stranger.start()
    hostkeys.enroll(stranger.address, stranger.fingerprint)
    assert whoami(stranger.url) == str(stranger.home)


def test_local_has_no_host_key() -> None:
    with pytest.raises(ConfigError, match="no host key"):
        hostkeys.enroll("local", None)


# ---------------------------------------------------------------- ways there


def config(text: str) -> None:
    (Path.home() / ".ssh" / "config").write_text(text)


def host(name: str, server: Sshd, *more: str) -> str:
    lines = [f"HostName 127.0.0.1\nPort {server.port}\nIdentityFile {server.identity}", *more]
    return f"Host {name}\n" + "\n".join(lines) + "\n"


def test_an_alias_of_the_ssh_configuration_resolves(sshd: Sshd) -> None:
    config(host("kitchen", sshd, f"User {getpass.getuser()}"))
    assert whoami("ssh://kitchen") == str(sshd.home)


def test_includes_are_read_and_the_address_wins_over_the_file(sshd: Sshd) -> None:
    (Path.home() / ".ssh" / "more").mkdir()
    (Path.home() / ".ssh" / "more" / "boards").write_text(host("kitchen", sshd).replace(str(sshd.port), "1"))
    config("Include more/*\n")
    assert whoami(f"ssh://kitchen:{sshd.port}") == str(sshd.home)


def test_another_configuration_file_can_be_named(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(host("kitchen", sshd))
    assert whoami(f"ssh://kitchen?config={tmp_path / 'other'}") == str(sshd.home)
    with pytest.raises(ConfigError, match="no SSH configuration /nowhere"):
        whoami("ssh://kitchen?config=/nowhere")


@pytest.mark.parametrize("hops", [1, 2])
def test_jumps_lead_to_the_board(hops: int, sshd: Sshd, make_sshd: MakeSshd) -> None:
    jumps = [make_sshd(f"jump{number}") for number in range(hops)]
    for jump in jumps:
        jump.trust()
    names = ",".join(f"jump{number}" for number in range(hops))
    config(
        "".join(host(f"jump{number}", jump) for number, jump in enumerate(jumps))
        + host("kitchen", sshd, f"ProxyJump {names}")
    )
    assert whoami("ssh://kitchen") == str(sshd.home)
    for jump in jumps:  # each of them is really on the way
        jump.kill()
        with pytest.raises(ConnectError):
            whoami("ssh://kitchen")
        jump.start()


def test_a_jump_behind_a_jump_is_found(sshd: Sshd, make_sshd: MakeSshd) -> None:
    outer, inner = make_sshd("outer"), make_sshd("inner")
    outer.trust()
    inner.trust()
    config(
        host("outer", outer)
        + host("inner", inner, "ProxyJump outer")
        + host("kitchen", sshd, "ProxyJump inner")
    )
    assert whoami("ssh://kitchen") == str(sshd.home)
    outer.kill()
    with pytest.raises(ConnectError):
        whoami("ssh://kitchen")


def test_the_host_key_of_a_jump_is_verified_too(sshd: Sshd, stranger: Sshd) -> None:
    config(host("jump", stranger) + host("kitchen", sshd, "ProxyJump jump"))
    with pytest.raises(ConnectError, match="is unknown") as refusal:
        whoami("ssh://kitchen")
    assert stranger.fingerprint in refusal.value.message


def test_a_board_behind_a_jump_can_be_enrolled(stranger: Sshd, sshd: Sshd) -> None:
    config(host("jump", sshd) + host("kitchen", stranger, "ProxyJump jump"))
    hostkeys.enroll("ssh://kitchen", stranger.fingerprint)
    assert whoami("ssh://kitchen") == str(stranger.home)


def test_a_jump_that_cannot_reach_the_board_says_so(sshd: Sshd) -> None:
    config(host("jump", sshd) + f"Host kitchen\nHostName 127.0.0.1\nPort {free_port()}\nProxyJump jump\n")
    with pytest.raises(ConnectError, match=r"cannot connect to \[127.0.0.1\]"):
        whoami("ssh://kitchen")


def test_jumps_in_a_circle_are_refused() -> None:
    config("Host a\nProxyJump b\nHost b\nProxyJump a\n")
    with pytest.raises(ConfigError, match="circle"):
        whoami("ssh://a")


def test_a_proxy_command_leads_to_the_board(sshd: Sshd) -> None:
    sshd.kill()  # only the command's own server can answer
    config(host("kitchen", sshd, f"ProxyCommand {BINARY} -i -f {sshd.config}"))
    assert whoami("ssh://kitchen") == str(sshd.home)


# ---------------------------------------------------------------- who is let in


def test_a_key_that_is_not_accepted_is_named_and_no_password_is_asked_for(sshd: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    with pytest.raises(ConnectError, match=f"{other} is not accepted") as refusal:
        whoami(f"{sshd.address}?identity={other}")
    assert "ssh-copy-id" in str(refusal.value.hint)


def test_an_encrypted_key_is_named_with_the_way_to_unlock_it(sshd: Sshd, tmp_path: Path) -> None:
    locked = make_key(tmp_path / "locked", passphrase="secret")
    with pytest.raises(ConnectError, match=f"{locked} is encrypted \\(ssh-add {locked} unlocks it\\)"):
        whoami(f"{sshd.address}?identity={locked}")


def test_without_any_key_the_error_says_so(sshd: Sshd) -> None:
    with pytest.raises(ConnectError, match="there are none"):
        whoami(sshd.address)


def test_an_identity_that_is_missing_or_no_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for name in ("nowhere", "text"):
        with pytest.raises(ConfigError, match=f"cannot use the identity {tmp_path / name}"):
            whoami(f"{sshd.address}?identity={tmp_path / name}")


def test_the_usual_identity_is_found(sshd: Sshd) -> None:
    (Path.home() / ".ssh" / "id_ed25519").write_text(sshd.identity.read_text())
    assert whoami(sshd.address) == str(sshd.home)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()  # it prints its variables once it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    yield
    process.terminate()
    process.communicate()


@pytest.mark.usefixtures("agent")
def test_a_key_of_the_agent_lets_in(sshd: Sshd) -> None:
    subprocess.run(["ssh-add", "-q", sshd.identity], check=True, capture_output=True)
    assert whoami(sshd.address) == str(sshd.home)


# ---------------------------------------------------------------- nobody there


def test_a_refused_connection_is_one_line() -> None:
    with pytest.raises(ConnectError, match=r"cannot connect to \[127.0.0.1\]:\d+: Connection refused$"):
        whoami(f"ssh://127.0.0.1:{free_port()}")


def test_a_name_that_nobody_knows_is_one_line() -> None:
    with pytest.raises(ConnectError, match=r"cannot resolve no-such-board\.invalid"):
        whoami("ssh://no-such-board.invalid")


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ssh_connection, "ANSWER_TIMEOUT_S", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConnectError, match="does not answer as an SSH server"),
    ):
        whoami(f"ssh://127.0.0.1:{silent.getsockname()[1]}")


def test_ssh_needs_a_host() -> None:
    with pytest.raises(ConfigError, match="names no host"):
        whoami("ssh://")
