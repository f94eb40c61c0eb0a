"""The example application: under load through updates, no request fails, and none sees half a version."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.boards.tiny import WIDTH, chain
from tests.field.device.agents import ROOT, SCRIPT, Agent
from tests.field.device.packages import Vendor

SERVER = ROOT / "examples" / "serving" / "server.py"
CLIENTS = 3


@pytest.fixture
def real(tmp_path: Path, vendor: Vendor) -> Agent:
    """A device with the real ONNX Runtime."""
    return Agent(tmp_path / "device", stand_in=False).trusts(vendor)


def package(vendor: Vendor, folder: Path, counter: int, layers: int, off: float = 0.0) -> Path:
    """A release of a chain of multiplications."""
    x = np.linspace(0, 1, 2 * WIDTH, dtype=np.float32).reshape(2, 1, WIDTH)
    return vendor.package(
        folder / f"{counter}.edgepkg",
        counter,
        x=x,
        y=expected(x, layers) + np.float32(off),
        model=chain(layers),
    )


def expected(x: np.ndarray, layers: int) -> np.ndarray:
    weight = np.eye(WIDTH, dtype=np.float64) + 1e-3
    return np.asarray(x @ np.linalg.matrix_power(weight, layers), np.float32)


def test_a_real_model_is_tested_and_serves(real: Agent, vendor: Vendor, tmp_path: Path) -> None:
    first = real.good("install", package(vendor, tmp_path, 1, layers=1))
    assert 0 < first["selftest"]["max_abs_error"] < 1e-4 or first["selftest"]["max_abs_error"] == 0.0
    wrong = real.do("install", package(vendor, tmp_path, 2, layers=2, off=0.5))
    assert (wrong.code, real.serving) == (5, 1)
    broken = vendor.package(tmp_path / "3.edgepkg", 3, model=b"not a model")
    assert real.do("install", broken).error[0] == "selftest"
    assert real.serving == 1


@dataclass
class Load:
    """Clients that ask without a pause.

    Attributes:
        failures: What went wrong.
        seen: Layers of the models that answered.
    """

    port: int
    failures: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    count: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def client(self) -> None:
        x = np.full((1, WIDTH), 0.5, np.float32)
        body = json.dumps({"inputs": {"x": x.tolist()}})
        sums = {layers: float(expected(x, layers).sum()) for layers in range(1, 4)}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.over.is_set():
            try:
                connection.request("POST", "/predict", body)
                answer = connection.getresponse()
                document = json.loads(answer.read())
                assert answer.status == 200, document
                total = float(np.sum(document["outputs"]["y"]))
                (layers,) = [one for one, sum_of_it in sums.items() if abs(total - sum_of_it) < 1e-2]
                self.seen.add(layers)
                self.count += 1
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()


@pytest.fixture
def server(real: Agent, vendor: Vendor, tmp_path: Path) -> Iterator[int]:
    """The example, serving version 1; its port."""
    real.good("install", package(vendor, tmp_path, 1, layers=1))
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent), "EDGEOPT_FIELD_ROOT": str(real.root)}
    process = subprocess.Popen(
        [sys.executable, SERVER, "--port", "0"], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())["port"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("updates", [4, pytest.param(20, marks=pytest.mark.long)])
def test_no_request_fails_through_updates(
    real: Agent, vendor: Vendor, tmp_path: Path, server: int, updates: int
) -> None:
    post = f'import urllib.request as r; r.urlopen("http://127.0.0.1:{server}/reload", b"")'
    reload = f"{sys.executable} -c '{post}'"
    real.wishes(on_switch=reload, health_url=f"http://127.0.0.1:{server}/health", trial_s=0)
    load = Load(server)
    clients = [threading.Thread(target=load.client) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for counter in range(2, 2 + updates):
            answer = real.good("install", package(vendor, tmp_path, counter, layers=1 + counter % 3))
            assert answer["counter"] == counter
        assert real.good("rollback")["counter"] == updates
    finally:
        load.over.set()
        for client in clients:
            client.join()
    assert load.failures == []
    assert load.count > 10 * updates
    assert load.seen == {1, 2, 3}
