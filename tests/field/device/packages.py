"""Packages made without edgeopt's packager, so that they can also be made wrong: keys, metadata, archives."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

LATER, EARLIER, MADE = "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2024-05-01T00:00:00Z"
ROLES = ("root", "snapshot", "targets", "timestamp")
Json = dict[str, Any]


def canonical(value: object) -> bytes:
    """What TUF signs: compact JSON with sorted keys, in which a line break stays one."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).replace("\\n", "\n").encode()


class Key:
    """One key; the same number is the same key, so that packages have the same bytes in each test."""

    def __init__(self, number: int, kind: str = "ed25519") -> None:
        seed = hashlib.sha256(f"{kind} {number}".encode()).digest()
        self.private: Any = (
            ed25519.Ed25519PrivateKey.from_private_bytes(seed)
            if kind == "ed25519"
            else ec.derive_private_key(int.from_bytes(seed, "big") >> 8, ec.SECP256R1())
        )
        self.kind = kind
        public = self.private.public_key()
        if kind == "ed25519":
            self.public = {
                "keytype": kind,
                "scheme": kind,
                "keyval": {"public": public.public_bytes_raw().hex()},
            }
        else:
            text = public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ).decode()
            scheme = "ecdsa-sha2-nistp256"
            self.public = {"keytype": "ecdsa", "scheme": scheme, "keyval": {"public": text}}
        self.id = hashlib.sha256(canonical(self.public)).hexdigest()

    def sign(self, content: bytes) -> str:
        more = [] if self.kind == "ed25519" else [ec.ECDSA(hashes.SHA256())]
        return str(self.private.sign(content, *more).hex())


def signed(document: object, keys: Sequence[Key]) -> bytes:
    """A metadata file."""
    content = canonical(document)
    signatures = [{"keyid": key.id, "sig": key.sign(content)} for key in sorted(keys, key=lambda key: key.id)]
    return written({"signatures": signatures, "signed": document})


def written(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def root(
    version: int, roles: Mapping[str, tuple[Sequence[Key], int]], expires: str = LATER, created: str = MADE
) -> Json:
    """A root that names who may sign what, and how many of them."""
    everybody = {key.id: key.public for keys, _ in roles.values() for key in keys}
    return {
        "_type": "root", "spec_version": "1.0.31", "version": version, "expires": expires,
        "consistent_snapshot": True, "keys": everybody, "edgeopt": {"created": created},
        "roles": {
            role: {"keyids": [key.id for key in keys], "threshold": n} for role, (keys, n) in roles.items()
        },
    }  # fmt: skip


def entry(content: bytes) -> Json:
    return {"length": len(content), "hashes": {"sha256": hashlib.sha256(content).hexdigest()}}


def targets(counter: int, files: Mapping[str, bytes], product: str = "oven", expires: str = LATER) -> Json:
    return {
        "_type": "targets", "spec_version": "1.0.31", "version": counter, "expires": expires,
        "edgeopt": {"format": 1, "product": product},
        "targets": {path: entry(content) for path, content in files.items()},
    }  # fmt: skip


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def archive(members: Sequence[tuple[str, bytes]], **header: Any) -> bytes:
    """An uncompressed tar of exactly these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            for key, value in header.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    end = sum(512 + len(content) + -len(content) % 512 for _, content in members)
    return buffer.getvalue()[:end] + bytes(1024)  # tarfile pads to 10 KiB


@dataclass
class Vendor:
    """Who makes packages: by default with one key for everything.

    Attributes:
        roots: The chain of root metadata, as signed.
    """

    keys: list[Key] = field(default_factory=lambda: [Key(1)])
    product: str = "oven"
    roots: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.roots = self.roots or [signed(root(1, self.roles(self.keys)), self.keys)]

    @staticmethod
    def roles(
        keys: Sequence[Key], **other: tuple[Sequence[Key], int]
    ) -> dict[str, tuple[Sequence[Key], int]]:
        return {role: other.get(role, (keys, 1)) for role in ROLES}

    def rotate(self, *keys: Key, **changes: Any) -> None:
        """Put other keys in the place of those that there are."""
        following = root(len(self.roots) + 1, self.roles(keys), **changes)
        self.roots.append(signed(following, [*self.keys, *(key for key in keys if key not in self.keys)]))
        self.keys = list(keys)

    def files(self, counter: int, **changes: Any) -> dict[str, bytes]:
        """The payload of a release whose model adds `add` (its counter) to its input."""
        variants = changes.pop("variants", None) or [changes]
        x = changes.pop("x", np.arange(8, dtype=np.float32).reshape(2, 1, 4))
        found: dict[str, bytes] = {"golden/inputs.npz": npz({"x": x}), "evidence/bom.cdx.json": b"{}"}
        described = [self._variant(counter, x, found, **one) for one in variants]
        manifest = {
            "format": 1, "product": self.product, "counter": counter, "created": MADE, "variants": described,
            "interface": {"inputs": [], "outputs": []}, "accuracy": None,
            "evidence": ["evidence/bom.cdx.json"],
        }  # fmt: skip
        return {**found, "manifest.json": written(manifest)}

    def _variant(self, counter: int, x: np.ndarray, found: dict[str, bytes], **one: Any) -> Json:
        name = one.get("name", "plain")
        add, promised = one.get("add", counter), one.get("promised", counter)
        model = one.get("model") or written({"add": add, **one.get("deeds", {})}) + bytes(one.get("pad", 0))
        session = {
            "format": 1, "runtime": one.get("runtime", "onnxruntime"), "model": "model.onnx",
            "options": {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "graph_optimization_level": 99,
                        "config": {}},
            "session_options": {}, "inputs": [], "outputs": [],
        }  # fmt: skip
        found[f"variants/{name}/model.onnx"] = model
        found[f"variants/{name}/session.json"] = written(session)
        found[f"golden/{name}/outputs.npz"] = npz({"y": one.get("y", x + np.float32(promised))})
        return {
            "name": name, "device": "rpi4", "model": f"variants/{name}/model.onnx",
            "session": f"variants/{name}/session.json", "golden": f"golden/{name}/outputs.npz",
            "tolerance": {"rtol": 1e-4, "atol": {"y": 1e-4}, "argmax_agreement": None},
            "requires": {"runtime": "onnxruntime", "runtime_range": ">=1.2", "python": ">=3.9", "machine": [],
                         "isa": [], "ram_bytes": None, "os": [], "opset": 13, **one.get("requires", {})},
            "promise": {"latency_ms": one.get("latency_ms"), "peak_rss_bytes": None,
                        "conditions": "sustained", "provenance": "measured"},
        }  # fmt: skip

    def metadata(
        self, counter: int, files: Mapping[str, bytes], keys: Sequence[Key] = (), **changes: Any
    ) -> dict[str, bytes]:
        document = targets(
            counter, files, changes.pop("product", self.product), changes.pop("expires", LATER)
        )
        chain = {f"metadata/{n}.root.json": content for n, content in enumerate(self.roots, 1)}
        return {**chain, "metadata/targets.json": signed({**document, **changes}, keys or self.keys)}

    def package(self, path: Path, counter: int, **changes: Any) -> Path:
        """A good package of a release."""
        files = self.files(counter, **changes)
        path.write_bytes(archive([*self.metadata(counter, files).items(), *sorted(files.items())]))
        return path

    def opening(self, counter: int, **changes: Any) -> tuple[Json, dict[str, bytes]]:
        """What `stage` reads, and the payload."""
        files = self.files(counter, **changes)
        texts = {path[9:]: content.decode() for path, content in self.metadata(counter, files).items()}
        return {"metadata": texts, "manifest": files["manifest.json"].decode()}, files
