"""Networks and SSH servers that fail: the board is unreachable, and no candidate is at fault."""

from __future__ import annotations

from pathlib import Path

from edgeopt.core.errors import ConnectError, HostKeyError, LoginError
from edgeopt.core.measurement import Measurement
from tests.faults.bench import LONG, Bench, Fault, Results, at_once
from tests.sshd import descendants, make_key

LARGE_MB = 24


def silent_at_connect(bench: Bench) -> Results:
    bench.proxy.silent = True
    return bench.measure()


def refused_at_connect(bench: Bench) -> Results:
    bench.proxy.refuses = True
    return bench.measure()


def no_ssh_server_there(bench: Bench) -> Results:
    bench.proxy.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    return bench.measure()


def cut_during_upload(bench: Bench) -> Results:
    assert bench.board
    bench.proxy.cut_after_bytes = bench.proxy.carried + (LARGE_MB << 19)
    return bench.measure(bench.large(LARGE_MB))


def the_rest_is_sent(bench: Bench) -> None:
    """A broken upload goes on where it stopped."""
    (part,) = (path for path in bench.sshd.objects.iterdir() if path.suffix == ".part")
    there, before = part.stat().st_size, bench.proxy.carried
    assert there > 1 << 20
    bench.proxy.heal()
    large = bench.folder / "large.onnx"
    assert isinstance(bench.measure_patiently(_artifact(bench, large))[0], Measurement)
    assert bench.proxy.carried - before < large.stat().st_size - there + (1 << 20)
    assert part.with_suffix("").read_bytes() == large.read_bytes()


def _artifact(bench: Bench, path: Path):
    from dataclasses import replace

    from edgeopt.core.digest import file_digest

    return replace(bench.good, path=path, sha256=file_digest(path), size_bytes=path.stat().st_size)


def silent_during_upload(bench: Bench) -> Results:
    large, before = bench.large(LARGE_MB), 0
    assert bench.board
    before = bench.proxy.carried
    with at_once(lambda: bench.proxy.carried > before + (1 << 20), lambda: go_silent(bench)):
        return bench.measure(large)


def go_silent(bench: Bench) -> None:
    bench.proxy.silent = True


def silent_during_measurement(bench: Bench) -> Results:
    with bench.while_measuring(lambda: go_silent(bench)):
        return bench.measure(protocol=LONG)


def reset_during_measurement(bench: Bench) -> Results:
    with bench.while_measuring(bench.proxy.reset):
        return bench.measure(protocol=LONG)


def slow(bench: Bench) -> Results:
    bench.proxy.bytes_per_s = 400_000
    return bench.measure()


def lossy(bench: Bench) -> Results:
    bench.proxy.stall_s = 0.2
    return bench.measure()


def sshd_and_all_below_die(bench: Bench) -> Results:
    with bench.while_measuring(bench.sshd.kill):
        return bench.measure(protocol=LONG)


def sshd_is_stopped_but_the_session_lives(bench: Bench) -> Results:
    assert bench.board
    assert bench.sshd.process
    bench.sshd.process.terminate()
    return bench.measure()


def key_changed_meanwhile(bench: Bench) -> Results:
    assert bench.board
    change_key(bench)
    bench.disconnect()
    return bench.measure()


def change_key(bench: Bench) -> None:
    """The board was installed anew, or is another one."""
    bench.sshd.kill()
    bench.sshd.host_key.rename(bench.sshd.folder / "former")
    make_key(bench.folder / "another")
    bench.sshd.host_key.write_bytes((bench.folder / "another").read_bytes())
    bench.sshd.host_key.chmod(0o600)
    bench.sshd.start()


def give_the_key_back(bench: Bench) -> None:
    bench.sshd.kill()
    (bench.sshd.folder / "former").replace(bench.sshd.host_key)
    bench.sshd.start()


def nobody_is_let_in(bench: Bench) -> Results:
    (bench.sshd.folder / "authorized_keys").rename(bench.sshd.folder / "away")
    return bench.measure()


def let_in(bench: Bench) -> None:
    (bench.sshd.folder / "away").rename(bench.sshd.folder / "authorized_keys")


def start_again(bench: Bench) -> None:
    if bench.sshd.process:
        for pid in descendants(bench.sshd.process.pid):
            assert pid
    bench.sshd.kill()
    bench.sshd.start()


def heal(bench: Bench) -> None:
    bench.proxy.heal()


FAULTS = {
    "cable pulled at connect": Fault(silent_at_connect, ConnectError, "does not answer", heal),
    "connection reset at connect": Fault(refused_at_connect, ConnectError, "", heal),
    "something else answers": Fault(no_ssh_server_there, ConnectError, "does not answer as an SSH", heal),
    "cable cut during upload": Fault(cut_during_upload, ConnectError, "lost|silent", the_rest_is_sent),
    "cable pulled during upload": Fault(silent_during_upload, ConnectError, "lost|silent", the_rest_is_sent),
    "cable pulled during measurement": Fault(silent_during_measurement, ConnectError, "silent", heal),
    "connection reset during measurement": Fault(reset_during_measurement, ConnectError, "gone|lost", heal),
    "slow network": Fault(slow, Measurement, "", heal),
    "lossy network": Fault(lossy, Measurement, "", heal),
    "sshd and its sessions killed": Fault(sshd_and_all_below_die, ConnectError, "gone|lost", start_again),
    "sshd ends, the session goes on": Fault(
        sshd_is_stopped_but_the_session_lives, Measurement, "", start_again
    ),
    "host key changed": Fault(key_changed_meanwhile, HostKeyError, "has changed", give_the_key_back),
    "key not accepted any more": Fault(nobody_is_let_in, LoginError, "is not accepted", let_in),
}
