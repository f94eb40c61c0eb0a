"""Studies' folders as `optimize` leaves them, and packages of them, made in milliseconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from securesystemslib.signer import Signer

from edgeopt.field import archive, npz, sign, ustar
from edgeopt.field.archive import Content
from edgeopt.field.evidence import DEPLOYMENT, GOLDEN_INPUTS
from edgeopt.field.founding import create
from edgeopt.field.keyring import Keyring
from edgeopt.field.pack import Packed, Release, pack
from edgeopt.field.trust import Trust
from edgeopt.field.variants import Source
from edgeopt.report.context import Evidence, ReportContext
from tests.e2e import made as models

CREATED = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)


def document(folder: Path, **changes: Any) -> dict[str, Any]:
    """What `best.json` says of `folder`, which has `best.onnx` and `golden.npz`."""
    model = folder / "best.onnx"
    options = {"threads": 1, "graph_optimization_level": "all", "allow_spinning": True}
    best = {
        "name": "trial 7", "trial": 7, "kind": "candidate", "runtime": "onnxruntime",
        "session_options": options,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "size_bytes": model.stat().st_size,
        "latency_ms": {"p50": 1.5, "p90": 1.6, "p95": 1.7, "p99": 1.8, "ci95": [1.4, 1.6], "n": 900},
        "latency_source": "clock", "peak_rss_bytes": 60_000_000, "provenance": "measured",
        "conditions": "sustained", "decisions": {"precision@/fc1": "float32"}, "interface": [],
    }  # fmt: skip
    body = {
        "model": str(folder / "net.onnx"), "device": "rpi4", "board": "kitchen", "provenance": "measured",
        "verdict": "improved", "artifact": str(model), "best": best,
        "final": [{"name": "trial 7", "trial": 7, "rejected": None, "worse": []}],
        "accuracy": {
            "status": "established", "basis": "labels", "verified_on": "board", "n": 4000, "drop": 0.001,
            "bound": 0.004, "disagreement": 0.01,
        },
        DEPLOYMENT: {
            "opset": 17, "ir_version": 8, "original_sha256": "0" * 64,
            "machine": ["aarch64", "x86_64"], "isa": [],
            "golden": {
                "source": "data", "samples": 3,
                "sha256": hashlib.sha256((folder / GOLDEN_INPUTS).read_bytes()).hexdigest(),
            },
        },
    }  # fmt: skip
    for name, value in changes.items():
        target = best if name in best and name not in body else body
        target[name] = {**target[name], **value} if isinstance(value, dict) else value
    return body


def study(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A finished study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    models.classifier(folder / "best.onnx", seed=seed)
    samples = np.random.default_rng(1).standard_normal((3, 1, 32)).astype(np.float32)
    (folder / GOLDEN_INPUTS).write_bytes(npz.to_bytes({"x": samples}))
    context = ReportContext(
        command="edgeopt optimize", created=CREATED.isoformat(), versions={"onnxruntime": "1.28.0"}
    )
    (folder / "best.json").write_text(Evidence(document(folder, **changes), context).to_json())
    (folder / "report.html").write_text("<p>report</p>")
    return folder


def source(folder: Path, name: str = "rpi4") -> Source:
    body = json.loads((folder / "best.json").read_text())
    context = body.pop("context")
    return Source(name, folder, body, datetime.fromisoformat(context["created"]), context["versions"])


def package(path: Path, folder: Path, keyring: Keyring, **release: Any) -> Packed:
    """A package of a study, signed with those keys of role targets whose files are there."""
    return pack(
        [source(folder)],
        path,
        Release(**{"product": "doorbell", "counter": 7} | release),
        trust=keyring.trust,
        signers=keyring.signers(keyring.trust.root.roles["targets"].keyids),
    )


def keyring(folder: Path, *roles: str, algorithm: Any = "ed25519") -> Keyring:
    from edgeopt.field.roots import RoleSpec

    return create(folder, [RoleSpec.parse(role) for role in roles], algorithm)


def contents(path: Path) -> dict[str, bytes]:
    """Every member of a package by name."""
    package = archive.read(path)
    return {name: package.bytes_of(name) for name in package.members}


def raw(members: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An archive of headers as given, whatever they say."""
    blocks = [head + content + bytes(ustar.padding(len(content))) for head, content in members]
    return b"".join(blocks) + ustar.END


def plain(members: Mapping[str, bytes], names: Sequence[str] | None = None) -> bytes:
    """An archive in the right form, of members in any order."""
    return raw(
        (ustar.header(name, len(members[name])), members[name]) for name in names or ustar.ordered(members)
    )


def sealed(
    members: Mapping[str, bytes],
    trust: Trust,
    signers: Iterable[Signer],
    *,
    product: str = "doorbell",
    counter: int = 7,
    expires: datetime | None = None,
    check: bool = True,
) -> bytes:
    """The payload of `members`, signed anew: what somebody with a key could make.

    Args:
        check: False signs with keys that may not, and with too few.
    """
    from tuf.api.metadata import Metadata

    from edgeopt.field.metadata import serialised

    payload = {name: content for name, content in members.items() if not name.startswith("metadata/")}
    listed = sign.targets(
        {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in payload.items()},
        product=product, counter=counter, expires=expires or CREATED + timedelta(days=365),
    )  # fmt: skip
    if check:
        targets = sign.signed(listed, trust, signers)
    else:
        metadata = Metadata(listed)
        for signer in signers:
            metadata.sign(signer, append=True)
        targets = serialised(metadata)
    chain = {f"metadata/{version}.root.json": content for version, content in trust.chain.items()}
    return plain(payload | chain | {ustar.TARGETS_NAME: targets})


def write(path: Path, members: Mapping[str, Content]) -> Path:
    archive.write(path, members)
    return path
