"""Small real releases: a model that multiplies by a number, packaged and signed as any other."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeopt.field import archive, founding, keys, npz, sign
from edgeopt.field.keyring import Keyring
from edgeopt.field.manifest import Manifest, Promise, Requirements, Tolerance, Variant
from edgeopt.field.trust import Trust

PRODUCT = "scale"
WIDTH = 64


def keyring(folder: Path) -> Keyring:
    """The simple form: one key for all roles."""
    return founding.create(folder)


def signer(folder: Path) -> Any:
    """The key of the simple form."""
    return keys.load(folder / "edgeopt.key")


@cache
def model(factor: float, ballast_bytes: int = 0) -> bytes:
    """y = factor * x for (1, WIDTH); `ballast_bytes` of weights that do nothing, for long transfers."""
    weights = [numpy_helper.from_array(np.array(factor, np.float32), "factor")]
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    if ballast_bytes:
        noise = np.random.default_rng(int(factor * 1000)).integers(0, 255, ballast_bytes, np.uint8)
        weights.append(numpy_helper.from_array(noise, "ballast"))
        nodes.append(helper.make_node("Identity", ["ballast"], ["unused"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "scale", [value("x", TensorProto.FLOAT, [1, WIDTH])],
        [value("y", TensorProto.FLOAT, [1, WIDTH])], weights,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def release(
    path: Path,
    folder: Path,
    counter: int,
    *,
    wrong: bool = False,
    ballast_bytes: int = 0,
    product: str = PRODUCT,
    runtime_range: str = ">=1.20",
    expires: timedelta = timedelta(days=30),
) -> Path:
    """A package of one variant, signed with the one key of `folder`.

    Args:
        counter: Also what its model multiplies by.
        wrong: Its golden outputs are of another model: no device can accept it.
    """
    inputs = np.random.default_rng(7).normal(size=(3, 1, WIDTH)).astype(np.float32)
    outputs = inputs * np.float32(counter + (1 if wrong else 0))
    tensor = {"dtype": "float32", "shape": [1, WIDTH]}
    interface = {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}
    session = {
        "format": 1, "runtime": "onnxruntime", "model": "model.onnx",
        "options": {
            "intra_op_num_threads": 1, "inter_op_num_threads": 1, "graph_optimization_level": 99,
            "config": {},
        },
        "session_options": {"threads": 1}, **interface,
    }  # fmt: skip
    variant = Variant(
        "host", "local", "variants/host/model.onnx", "variants/host/session.json", "golden/host/outputs.npz",
        Tolerance(1e-3, {"y": 1e-3}),
        Requirements("onnxruntime", runtime_range, machine=(platform.machine(),), opset=13),
        Promise(None, None, "bench", "measured"),
    )  # fmt: skip
    manifest = Manifest(
        product, counter, "2026-01-01T00:00:00Z", (variant,), "golden/inputs.npz", "random", interface, {}, ()
    )
    members: dict[str, bytes] = {
        "manifest.json": manifest.to_bytes(),
        variant.model: model(float(counter), ballast_bytes),
        variant.session: json.dumps(session, sort_keys=True).encode(),
        variant.golden: npz.to_bytes({"y": outputs}),
        manifest.inputs: npz.to_bytes({"x": inputs}),
    }
    trust = Trust.open(folder)
    listed = {name: (len(one), hashlib.sha256(one).hexdigest()) for name, one in members.items()}
    until = (datetime.now(UTC) + expires).replace(microsecond=0)
    targets = sign.targets(listed, product=product, counter=counter, expires=until)
    members |= {f"metadata/{version}.root.json": content for version, content in trust.chain.items()}
    members["metadata/targets.json"] = sign.signed(targets, trust, [signer(folder)])
    archive.write(path, members)
    return path
