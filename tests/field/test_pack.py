from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.core.errors import ConfigError, EvidenceError, ModelError, PackageError
from edgeopt.field import npz
from edgeopt.field.keyring import Keyring
from edgeopt.field.manifest import Manifest
from edgeopt.field.pack import Release, pack
from edgeopt.field.trust import TIME_FORMAT
from edgeopt.field.verify import trusted_root, verify
from tests.e2e.made import classifier
from tests.field import made


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.contents(path)["manifest.json"])
    return found


def test_a_package_holds_all_that_a_device_needs(genuine: Path, folder: Path) -> None:
    members = made.contents(genuine)
    assert list(members)[2:] == [
        "evidence/bom.cdx.json", "evidence/rpi4/best.json", "evidence/rpi4/report.html", "golden/inputs.npz",
        "golden/rpi4/outputs.npz", "manifest.json", "variants/rpi4/model.onnx", "variants/rpi4/session.json",
    ]  # fmt: skip
    assert members["variants/rpi4/model.onnx"] == (folder / "best.onnx").read_bytes()
    said = manifest(genuine)
    (variant,) = said["variants"]
    assert (said["format"], said["product"], said["counter"], said["inputs_from"]) == (
        1,
        "doorbell",
        7,
        "data",
    )
    assert said["created"] == made.CREATED.strftime(TIME_FORMAT)
    assert variant["requires"] == {
        "runtime": "onnxruntime", "runtime_range": ">=1.16,<2", "python": ">=3.9", "isa": [], "os": [],
        "machine": ["aarch64", "x86_64"], "ram_bytes": 60_000_000, "opset": 17,
    }  # fmt: skip
    assert variant["promise"]["latency_ms"] == {
        "value": 1.5, "unit": "ms", "low": 1.4, "high": 1.6, "provenance": "measured", "source": "clock",
    }  # fmt: skip
    assert said["interface"] == {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 32]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 4]}],
    }
    assert Manifest.from_bytes(members["manifest.json"]).to_bytes() == members["manifest.json"]


def test_a_session_is_told_in_the_runtimes_own_words(genuine: Path) -> None:
    said = json.loads(made.contents(genuine)["variants/rpi4/session.json"])
    assert (said["runtime"], said["model"]) == ("onnxruntime", "model.onnx")
    assert said["options"] == {
        "intra_op_num_threads": 1, "inter_op_num_threads": 1, "graph_optimization_level": 99,
        "config": {"session.intra_op.allow_spinning": "1"},
    }  # fmt: skip


def test_golden_outputs_are_reproduced_from_the_package_alone(genuine: Path, tmp_path: Path) -> None:
    import onnxruntime

    for name, content in made.contents(genuine).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    inputs = npz.read(tmp_path / "golden/inputs.npz")
    outputs = npz.read(tmp_path / "golden/rpi4/outputs.npz")
    session = onnxruntime.InferenceSession(tmp_path / "variants/rpi4/model.onnx")
    for i in range(3):
        found = session.run(None, {"x": inputs["x"][i]})[0]
        np.testing.assert_allclose(found, outputs["y"][i], rtol=1e-5)


def test_the_bill_of_materials(genuine: Path) -> None:
    body = json.loads(made.contents(genuine)["evidence/bom.cdx.json"])
    assert (body["bomFormat"], body["specVersion"]) == ("CycloneDX", "1.6")
    assert body["metadata"]["component"]["version"] == "7"
    parts = {part["bom-ref"]: part for part in body["components"]}
    model = parts["variant:rpi4"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["alg"] == "SHA-256"
    assert model["modelCard"]["modelParameters"]["inputs"] == [{"format": "x float32[1, 32]"}]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[1]["confidenceInterval"] == {"lowerBound": "1.4", "upperBound": "1.6"}
    needed = next(d for d in body["dependencies"] if d["ref"] == "variant:rpi4")["dependsOn"]
    assert needed == [f"original:{'0' * 64}", "runtime:onnxruntime@1.28.0"]
    assert set(needed) <= set(parts)


PROGRAM = """
import sys, pathlib
from edgeopt.field.keyring import Keyring
from tests.field import made
folder, keys, out = map(pathlib.Path, sys.argv[1:])
made.package(out, folder, Keyring.open(keys), counter=None)
"""


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa"])
def test_the_same_input_gives_the_same_bytes(algorithm: str, folder: Path, tmp_path: Path) -> None:
    """In other processes, at other times, in other zones, with other seeds of Python's hashes."""
    made.keyring(tmp_path / "keys", algorithm=algorithm)
    contents = []
    for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
        out = tmp_path / f"{seed}.edgepkg"
        subprocess.run(
            [sys.executable, "-c", PROGRAM, folder, tmp_path / "keys", out],
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": zone}, check=True,
        )  # fmt: skip
        contents.append(out.read_bytes())
    assert contents[0] == contents[1]


def test_the_counter_grows_by_itself(folder: Path, keyring: Keyring, tmp_path: Path) -> None:
    packed = made.package(tmp_path / "p", folder, keyring, counter=None)
    assert packed.manifest.counter == int(made.CREATED.strftime("%Y%m%d%H%M%S"))
    assert packed.expires == made.CREATED + timedelta(days=365)
    later = made.package(
        tmp_path / "q", folder, keyring, counter=None, created=made.CREATED + timedelta(seconds=1)
    )
    assert later.manifest.counter > packed.manifest.counter


def two(tmp_path: Path, **changes: Any) -> list[made.Source]:
    fast = made.study(tmp_path / "fast", latency_ms={"p50": 0.5, "ci95": [0.4, 0.6]}, **changes)
    slow = made.study(tmp_path / "slow", seed=3)
    return [made.source(slow, "rpi4"), made.source(fast, "rpi5")]


def test_variants_come_fastest_first_and_share_golden_inputs(keyring: Keyring, tmp_path: Path) -> None:
    signers = keyring.signers(keyring.trust.root.roles["targets"].keyids)
    packed = pack(two(tmp_path), tmp_path / "p", Release("doorbell", 7), trust=keyring.trust, signers=signers)
    assert [variant.name for variant in packed.manifest.variants] == ["rpi5", "rpi4"]
    verify(tmp_path / "p", keyring.trust)
    assert {"golden/inputs.npz", "golden/rpi4/outputs.npz", "golden/rpi5/outputs.npz"} <= set(
        made.contents(tmp_path / "p")
    )


def test_variants_that_do_not_fit_together(keyring: Keyring, tmp_path: Path) -> None:
    signers = keyring.signers(keyring.trust.root.roles["targets"].keyids)
    sources = two(tmp_path)
    with pytest.raises(ConfigError, match="two variants are called rpi4"):
        pack([sources[0], sources[0]], tmp_path / "p", Release("d", 7), trust=keyring.trust, signers=signers)
    classifier(tmp_path / "fast" / "best.onnx", classes=5)
    body = made.document(tmp_path / "fast")
    other = made.Source("rpi5", tmp_path / "fast", body, made.CREATED, {})
    with pytest.raises(ModelError, match="have other inputs or outputs"):
        pack([sources[0], other], tmp_path / "p", Release("d", 7), trust=keyring.trust, signers=signers)
    assert not (tmp_path / "p").exists()


def test_a_study_whose_files_changed(keyring: Keyring, tmp_path: Path) -> None:
    folder = made.study(tmp_path / "out")
    (folder / "golden.npz").write_bytes(npz.to_bytes({"x": np.zeros((1, 1, 32), np.float32)}))
    with pytest.raises(PackageError, match=r"golden\.npz is not what the study wrote"):
        made.package(tmp_path / "p", folder, keyring)
    made.study(folder)
    classifier(folder / "best.onnx", seed=9)
    with pytest.raises(PackageError, match="is not the file that the study measured"):
        made.package(tmp_path / "p", folder, keyring)
    (folder / "best.onnx").unlink()
    with pytest.raises(PackageError, match="is gone"):
        made.package(tmp_path / "p", folder, keyring)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]


def test_what_may_not_be_packaged(folder: Path, keyring: Keyring, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would have expired at"):
        made.package(tmp_path / "p", folder, keyring, expires=made.CREATED)
    with pytest.raises(ConfigError, match="cannot be the name"):
        made.package(tmp_path / "p", folder, keyring, product="../x")
    with pytest.raises(ConfigError, match="not a wheel"):
        made.package(tmp_path / "p", folder, keyring, wheels=[tmp_path])
    with pytest.raises(ConfigError, match="--counter 0"):
        made.package(tmp_path / "p", folder, keyring, counter=0)
    emulated = made.study(tmp_path / "emulated", provenance="emulated", best={"provenance": "emulated"})
    with pytest.raises(EvidenceError, match="emulated"):
        made.package(tmp_path / "p", emulated, keyring)
    assert not (tmp_path / "p").exists()


def test_wheels_for_boards_without_a_network(folder: Path, keyring: Keyring, tmp_path: Path) -> None:
    wheel = tmp_path / "numpy-2.0.0-cp311-cp311-manylinux_2_17_aarch64.whl"
    wheel.write_bytes(b"wheel")
    made.package(tmp_path / "p", folder, keyring, wheels=[wheel])
    assert verify(tmp_path / "p", keyring.trust).manifest.wheels == (f"wheels/{wheel.name}",)


def test_what_a_device_is_given_to_trust(genuine: Path, keyring: Keyring) -> None:
    assert trusted_root(genuine, keyring.folder) == (keyring.folder / "root.pub.json").read_bytes()
