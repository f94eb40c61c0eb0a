"""From a model file to a predicted time: near what others published, within the error bar that is printed."""

import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx_ir
import pytest

from edgeopt.boards import profiles
from edgeopt.boards.roofline import Roofline
from edgeopt.core.workload import NodeCost
from edgeopt.graph.workload import costs
from tests.graph.mobilenet import mobilenet_v2

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "device_profiles"
DEVICES = ("rpi-zero2w", "rpi3bplus", "rpi4", "rpi5")


@pytest.fixture(scope="module")
def mobilenet() -> tuple[NodeCost, ...]:
    return costs(onnx_ir.from_proto(mobilenet_v2()), fused=True)


@pytest.mark.parametrize("device", DEVICES[:3])
def test_mobilenet_v2_is_predicted_within_the_bar_of_every_published_latency(
    device: str, mobilenet: tuple[NodeCost, ...]
) -> None:
    roofline = Roofline.of(profiles.load(device))
    with (PUBLISHED / "published_latency.csv").open() as stream:
        rows = [
            (int(row["threads"]), float(row["latency_ms"]))
            for row in csv.DictReader(stream)
            if (row["board"], row["model"], row["dtype"]) == (device, "mobilenet_v2", "fp32")
        ]
    assert rows
    for threads, published_ms in rows:
        predicted = roofline.latency(mobilenet, threads)
        assert predicted.low < published_ms < predicted.high
        assert predicted.value == pytest.approx(published_ms, rel=0.35)


def test_boards_are_predicted_in_their_order(mobilenet: tuple[NodeCost, ...]) -> None:
    times = [Roofline.of(profiles.load(device)).latency(mobilenet, 4).value for device in DEVICES]
    assert times == sorted(times, reverse=True)


def test_nearly_all_published_latencies_are_within_a_factor_of_two() -> None:
    _script("published_models")  # which the fit imports
    fit = _script("fit_predicted")
    published = fit.published()
    errors = {}
    for device in DEVICES:
        roofline = Roofline.of(profiles.load(device))
        errors[device] = fit.residuals(roofline, fit.observed(roofline, published[device]))
    everything = [abs(float(error)) for found in errors.values() for error in found]
    assert len(everything) > 60
    assert sum(error < math.log(2) for error in everything) >= 0.95 * len(everything)


def test_the_profiles_hold_what_the_fit_finds() -> None:
    """The factors in the profiles are reproducible, not tuned by hand."""
    printed = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "fit_predicted.py"], capture_output=True, text=True, check=True
    ).stdout
    for device in DEVICES:
        section = (PUBLISHED / f"{device}.toml").read_text().partition("[model]\n")[2]
        assert section.strip()
        assert section.strip() in printed


def test_published_networks_cost_what_is_known_of_them() -> None:
    models = _script("published_models")
    known = {  # 10^6 multiply-adds, 10^6 parameters, as widely reported
        "mobilenet_v1": (569, 4.2), "mobilenet_v2": (301, 3.5), "mobilenet_v3_large": (217, 5.5),
        "efficientnet_b0": (390, 5.3), "squeezenet_v1.0": (820, 1.25), "squeezenet_v1.1": (350, 1.24),
        "resnet18": (1814, 11.7), "resnet50": (4089, 25.6), "yolov4_tiny": (3450, 6.06),
    }  # fmt: skip
    assert set(models.NETWORKS) == set(known)
    for name, (build, _) in models.NETWORKS.items():
        net = build()
        assert (net.total("macs") / 1e6, net.total("params") / 1e6) == pytest.approx(known[name], rel=0.015)
    with (PUBLISHED / "published_models.csv").open() as stream:
        table = {row["model"]: int(row["macs"]) for row in csv.DictReader(stream)}
    assert table == {name: build().total("macs") for name, (build, _) in models.NETWORKS.items()}


def _script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
