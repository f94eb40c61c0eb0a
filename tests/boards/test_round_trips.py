"""How often a measurement over SSH crosses the network: each time, a distant board costs more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards.address import Address
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core.measurement import Measurement
from tests.boards.counted_trips import CountingTrips
from tests.boards.tiny import FEEDS, artifact, chain
from tests.faults.bench import SHORT
from tests.sshd import Sshd

MOST = 4


@pytest.fixture
def counting(sshd: Sshd) -> Iterator[CountingTrips]:
    transport = CountingTrips(ssh.connect(Address.parse(sshd.url)))
    with contextlib.closing(transport):
        yield transport


def test_a_measurement_takes_at_most_four_round_trips(counting: CountingTrips, tmp_path: Path) -> None:
    control, new = artifact(tmp_path, chain(2)), artifact(tmp_path, chain(3))
    final = replace(SHORT, processes=3, window_s=0.05)
    with RunnerBoard("b", "local", lambda: counting) as board:
        taken = []
        for models in ([control], [control, new], [control, new], [new, control]):
            before = counting.trips
            results = board.measure(models, FEEDS, final)
            assert all(isinstance(result, Measurement) for result in results)
            taken.append(counting.trips - before)
    # Asked, told what is missing, sent it (or new weights, which are put together there), and asked again.
    assert max(taken) <= MOST
    assert taken[2:] == [1, 1], "nothing is missing"


def test_a_heartbeat_is_no_round_trip_and_a_request_is_one(counting: CountingTrips) -> None:
    with contextlib.closing(counting.start_runner()) as channel:
        before = counting.trips
        channel.send(b"\n")
        assert (counting.trips, counting.beats) == (before, 1)
        channel.send(b'{"version": 1, "id": 1, "op": "who"}\n')
        assert counting.trips == before + 1
