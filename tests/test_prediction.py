"""From a model file to a predicted time: what the emulator says, within the error bar that is printed."""

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
from edgeopt.boards.roofline import Z_95, Roofline
from edgeopt.core.artifact import Artifact
from edgeopt.core.workload import NodeCost
from edgeopt.graph.workload import costs, workload
from tests.graph.mobilenet import mobilenet_v2

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "device_profiles"
DEVICES = ("rpi-zero2w", "rpi3bplus", "rpi4", "rpi5")


@pytest.fixture(scope="module")
def mobilenet() -> tuple[NodeCost, ...]:
    return costs(onnx_ir.from_proto(mobilenet_v2()), fused=True)


@pytest.mark.parametrize("device", DEVICES)
def test_mobilenet_v2_is_predicted_within_the_bar_of_what_the_emulator_says(
    device: str, mobilenet: tuple[NodeCost, ...]
) -> None:
    roofline = Roofline.of(profiles.load(device))
    rows = [row for row in _fit().emulated()[device] if row.label.startswith("mobilenet_v2 x")]
    float_rows = [row for row in rows if row.label.endswith(" original")]
    assert {row.threads for row in float_rows} == {1, 2, 4}
    for row in float_rows:
        predicted = roofline.latency(mobilenet, row.threads)
        assert predicted.low < math.exp(row.log_ms) < predicted.high


@pytest.mark.parametrize("device", DEVICES)
def test_nearly_all_emulated_latencies_are_within_the_bar(device: str) -> None:
    fit = _fit()
    roofline, rows = Roofline.of(profiles.load(device)), fit.emulated()[device]
    sigma = {"fp32": roofline.log_sigma_fp32, "int8": roofline.log_sigma_int8}
    errors = fit.residuals(roofline, rows)
    within = [abs(error) < Z_95 * sigma[row.kind] for row, error in zip(rows, errors, strict=True)]
    assert len(within) > 60
    assert sum(within) >= 0.9 * len(within)


def test_boards_are_predicted_in_their_order(mobilenet: tuple[NodeCost, ...]) -> None:
    times = [Roofline.of(profiles.load(device)).latency(mobilenet, 4).value for device in DEVICES]
    assert times == sorted(times, reverse=True)


def test_published_latencies_of_other_runtimes_are_of_the_size_that_is_predicted() -> None:
    """They are fitted to no more: ONNX Runtime is slower than most of them, by what the emulator says."""
    fit = _fit()
    published = fit.published()
    errors = {}
    for device in DEVICES:
        roofline = Roofline.of(profiles.load(device))
        errors[device] = fit.residuals(roofline, fit.observed(roofline, published[device]))
    everything = [abs(float(error)) for found in errors.values() for error in found]
    assert len(everything) > 60
    assert sum(error < math.log(2) for error in everything) >= 0.7 * len(everything)
    assert max(everything) < math.log(4)


def test_the_profiles_hold_what_the_fit_finds() -> None:
    """The factors in the profiles are reproducible, not tuned by hand."""
    printed = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "fit_predicted.py"], capture_output=True, text=True, check=True
    ).stdout
    for device in DEVICES:
        section = (PUBLISHED / f"{device}.toml").read_text().partition("[model]\n")[2]
        assert section.strip()
        assert section.strip() in printed


@pytest.mark.parametrize("device", DEVICES)
def test_the_table_of_emulated_latencies_asks_what_the_graphs_do(device: str) -> None:
    fit = _fit()
    rows = {row.label: row for row in fit.emulated()[device]}
    roofline = Roofline.of(profiles.load(device))
    for example, shapes in {"cnn": {}, "fnn": {"features": (1, 16)}}.items():
        path = ROOT / "examples" / example / "model.onnx"
        found = sys.modules["predicted_rows"].asked(
            roofline, workload(Artifact("original", path, "", 1), shapes)
        )
        row = rows[f"{example} x1 original"]
        assert (row.flops["float32"], row.traffic_bytes, row.nodes) == (
            found["float32_flops"], found["traffic_bytes"], found["nodes"],
        )  # fmt: skip


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


def _fit() -> Any:
    _script("published_models")
    _script("predicted_rows")
    return _script("fit_predicted")


def _script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
