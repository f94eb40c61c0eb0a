"""What every transport must do: run these checks on a new one against a real board.

@pytest.mark.parametrize("check", transports.CHECKS)
def test_my_transport(check, tmp_path):
    with contextlib.closing(my_transport.connect(address)) as transport:
        check(transport, tmp_path)
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from edgeopt.boards.address import Address
from edgeopt.boards.transports import Channel, Transport
from edgeopt.core import plugins
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CommandError


def check_examples(scheme: str) -> None:
    """Its `EXAMPLES` are addresses of its own scheme."""
    examples = plugins.load("transports", scheme).EXAMPLES
    _expect(bool(examples), "a transport shows at least one address")
    for example in examples:
        _expect(Address.parse(example).scheme == scheme, f"{example} is not a {scheme} address")


def check_commands(transport: Transport, folder: Path) -> None:
    """Both outputs, the exit status, and shell syntax pass through; much output does not block."""
    del folder
    result = transport.run('echo out; echo "it\'s" >&2; exit 3')
    _expect((result.status, result.stdout, result.stderr) == (3, "out\n", "it's\n"), f"{result}")
    long = transport.run("head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2")
    _expect(len(long.stdout) == len(long.stderr) == 3_000_000, "output was lost")


def check_standard_input(transport: Transport, folder: Path) -> None:
    """A command gets exactly the bytes that it is given, then the end; by default the end at once."""
    del folder
    given = bytes(range(256)) * 4000
    result = transport.run("sha256sum", stdin=given)
    _expect(result.stdout.split()[0] == hashlib.sha256(given).hexdigest(), "stdin arrived changed")
    _expect(transport.run("wc -c").stdout.strip() == "0", "a command without stdin was given something")
    _expect(transport.run("true", stdin=given).status == 0, "a command that reads nothing failed")


def check_dialogue(transport: Transport, folder: Path) -> None:
    """A started command is spoken with in turns, takes much at once, says why it ends, and ends."""
    del folder
    channel = transport.start("read a; echo got $a; head -c 3000000 | wc -c; echo why >&2")
    try:
        channel.send(b"one\n")
        answer = _until(channel, b"got one\n")
        _expect(answer == b"got one\n", f"{answer!r}")
        channel.send(bytes(3_000_000))
        _expect(_until(channel, b"\n").strip() == b"3000000", "what was sent did not arrive whole")
        _expect(channel.receive(30.0) == b"", "the command has not ended")
        _expect(channel.last_words() == "why", "what it said last was lost")
    finally:
        channel.close()


def check_slow_command(transport: Transport, folder: Path) -> None:
    """A command that takes too long is a `CommandError`, and the transport goes on."""
    del folder
    try:
        transport.run("sleep 60", timeout_s=0.3)
    except CommandError:
        pass
    else:
        raise AssertionError("a command outlived its timeout")
    _expect(transport.run("echo still").stdout == "still\n", "the transport did not survive a timeout")


def check_round_trip(transport: Transport, folder: Path) -> None:
    """A file arrives whole, is not sent twice, and comes back whole."""
    source, back = folder / "source", folder / "back"
    source.write_bytes(os.urandom(3 << 20))
    sha256 = file_digest(source)
    transport.put(source, sha256)
    source.unlink()
    transport.put(source, sha256)
    transport.get(sha256, back)
    _expect(file_digest(back) == sha256, "the file came back changed")


def check_missing_object(transport: Transport, folder: Path) -> None:
    """What the board does not have is a `CommandError`."""
    try:
        transport.get("0" * 64, folder / "back")
    except CommandError:
        return
    raise AssertionError("an object that does not exist was fetched")


def check_runner(transport: Transport, folder: Path) -> None:
    """The on-board runner starts, answers requests, and ends with its channel."""
    del folder
    channel = transport.start_runner()
    try:
        channel.send(json.dumps({"version": 1, "id": 5, "op": "stat", "objects": []}).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            data = channel.receive(30.0)
            if not data:
                raise AssertionError(f"the runner ended: {channel.last_words()}")
            answer += data
        _expect(json.loads(answer) == {"version": 1, "id": 5, "ok": []}, answer.decode())
    finally:
        channel.close()


CHECKS = (
    check_commands,
    check_standard_input,
    check_dialogue,
    check_slow_command,
    check_round_trip,
    check_missing_object,
    check_runner,
)


def _until(channel: Channel, end: bytes) -> bytes:
    answer = b""
    while not answer.endswith(end) and (data := channel.receive(30.0)):
        answer += data
    return answer


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
