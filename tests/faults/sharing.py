"""Several who want one board, and runners and hosts that die or stop: no number that is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from edgeopt.core.errors import BoardError, BusyError, ConnectError, EdgeoptError, LeaseLost
from edgeopt.core.measurement import Measurement
from tests.boards.tiny import FEEDS
from tests.boards.virtual.processes import wait_until
from tests.faults.bench import A_WHILE, LONG, SHORT, Bench, Fault, Results, stop

HOST = """
import sys
from pathlib import Path
from edgeopt.boards.address import Address
from edgeopt.boards.lease import Claim
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from tests.faults.bench import FEEDS, LONG
from tests.boards.tiny import artifact, chain
claim = Claim(owner="eve@lab", command="edgeopt measure")
board = RunnerBoard("kitchen", "local", lambda: ssh.connect(Address.parse(sys.argv[1])), claim=claim)
board.measure([artifact(Path(sys.argv[2]), chain(4))], FEEDS, LONG)
"""


def another_has_it(bench: Bench) -> Results:
    with bench.connect("bob@lab"):
        return bench.measure()


def two_race(bench: Bench) -> Results:
    """Both get their numbers, one after the other."""
    results: list[Results | EdgeoptError] = []

    def race(owner: str) -> None:
        try:
            with bench.connect(owner, wait_s=60) as board:
                results.append(board.measure([bench.good], FEEDS, SHORT))
        except EdgeoptError as error:
            results.append(error)

    threads = [threading.Thread(target=race, args=(owner,)) for owner in ("ann@desk", "bob@lab")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, EdgeoptError):
            raise result
    return [one for result in results if isinstance(result, list) for one in result]


def taken_away(bench: Bench) -> Results:
    def take_away() -> None:
        from contextlib import closing

        from edgeopt.boards.dialogue import Dialogue
        from edgeopt.boards.transports import ssh

        with closing(ssh.connect(bench.address)) as transport, closing(transport.start_runner()) as channel:
            Dialogue(channel, "kitchen").ask("unlock", 30, owner="bob@lab", force=True)

    with bench.while_measuring(take_away):
        return bench.measure(protocol=LONG)


def runner_killed(bench: Bench) -> Results:
    """Once is nobody's fault: who ran is tried alone, and is none the worse."""
    with bench.while_measuring(lambda: os.kill(bench.runners()[0], signal.SIGKILL)):
        return bench.measure(bench.good, bench.model("never -"), protocol=A_WHILE)


def runner_killed_whatever_runs(bench: Bench) -> Results:
    """Somebody on the board ends every second runner: no model is called guilty of it."""
    models = [bench.model(f"never {index}") for index in range(2)]
    for _ in range(5):
        with bench.while_measuring(lambda: os.kill(bench.runners()[0], signal.SIGKILL)):
            bench.measure(*models, protocol=A_WHILE)
    return []


def runner_killed_with_a_daemon_of_a_candidate(bench: Bench) -> Results:
    """What has left the session of a model whose runner was killed is found by the next runner."""
    with bench.while_measuring(lambda: os.kill(bench.runners()[0], signal.SIGKILL)):
        return bench.measure(bench.model("load fork"), protocol=A_WHILE)


def runner_stopped(bench: Bench) -> Results:
    with bench.while_measuring(lambda: stop(bench.runners()[0])):
        return bench.measure(protocol=LONG)


def host_killed(bench: Bench) -> Results:
    """Another command, killed in the middle of its measurement, keeps nobody out."""
    host = subprocess.Popen([sys.executable, "-c", HOST, bench.url, str(bench.folder)])
    wait_until(lambda: bool(bench.children()), 120)
    host.kill()
    host.wait()
    wait_until(lambda: not bench.runners(), 30)
    return bench.measure()


def host_stopped(bench: Bench) -> Results:
    """A closed laptop: its runner ends by itself, and whoever waits gets the board."""
    program = HOST.replace(
        "claim = ", "from edgeopt.boards import lease\nlease.TTL_S = 3.0\nlease.BEAT_S = 0.5\nclaim = "
    )
    host = subprocess.Popen(
        [sys.executable, "-c", program, bench.url, str(bench.folder)], stderr=subprocess.PIPE
    )
    wait_until(lambda: bool(bench.children()), 120)
    stop(host.pid)
    try:
        with bench.connect("bob@lab", wait_s=60) as board:
            results = board.measure([bench.good], FEEDS, SHORT)
    finally:
        os.kill(host.pid, signal.SIGCONT)
    _, said = host.communicate(timeout=60)
    assert host.returncode == 1
    assert b"ConnectError" in said.splitlines()[-1]
    return results


FAULTS = {
    "another has the board": Fault(another_has_it, BusyError, "in use by bob@lab"),
    "two clients race for one board": Fault(two_race, Measurement),
    "board taken away in mid-measurement": Fault(taken_away, LeaseLost, "bob@lab has taken it away"),
    "runner killed": Fault(runner_killed, Measurement),
    "runner killed, whatever runs": Fault(
        runner_killed_whatever_runs, BoardError, "kills edgeopt's runner again and again.*no single model"
    ),
    "runner killed, a daemon left": Fault(runner_killed_with_a_daemon_of_a_candidate, Measurement),
    "runner stopped": Fault(runner_stopped, ConnectError, "silent"),
    "host killed": Fault(host_killed, Measurement),
    "host stopped": Fault(host_stopped, Measurement),
}
