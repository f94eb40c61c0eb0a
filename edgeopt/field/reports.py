"""What devices that fetch updates themselves report: signed by each, kept once, and counted for a release."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.errors import EdgeoptError, PackageError, SignatureError
from edgeopt.core.files import write_atomically

LONGEST_BYTES = 64 << 10
NAME = re.compile(r"[0-9a-f]{16,64}")
FIELDS = ("device_id", "product", "counter", "outcome", "reason", "current", "time", "sequence")
GOOD = "good"


class RepeatedReport(EdgeoptError):
    """It, or a later one, is there already: whoever sent it may forget it."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the last report of a device says.

    Attributes:
        received: When it came, seconds since 1970 by this machine's clock; the device may have no clock.
    """

    device_id: str
    product: str
    counter: int
    outcome: str
    reason: str | None
    current: int | None
    received: float


class Inbox:
    """A folder of reports: `ID.pem` is the key that a device has, `ID.jsonl` what it has reported.

    The first report of a device pins its key, unless only known devices are let in: then whoever sets up a
    device puts its key there before.
    """

    def __init__(self, folder: Path, known_only: bool = False) -> None:
        self._folder, self._known_only = folder, known_only

    def accept(self, body: bytes) -> None:
        """Keep a report, once it is on the disk.

        Raises:
            PackageError: It is none.
            SignatureError: It is not signed by the device's key, or the device is not known.
            RepeatedReport: It is there already.
            EdgeoptError: It cannot be kept: disk full, permission.
        """
        signed, public_key, signature = _parsed(body)
        _verify(public_key, signature, _canonical(signed))
        name = signed["device_id"]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._require_key(name, public_key)
            last = self._last(name)
            if last is not None and signed["sequence"] <= last["sequence"]:
                raise RepeatedReport(f"report {signed['sequence']} of {name} is there already")
            line = json.dumps({**signed, "received": time.time()}, ensure_ascii=False) + "\n"
            with (self._folder / f"{name}.jsonl").open("ab") as stream:
                stream.write(line.encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise EdgeoptError(f"cannot keep a report in {self._folder}: {error.strerror}") from error
        finally:
            os.close(lock)

    def devices(self) -> list[Device]:
        """Every device by its last report, by name."""
        found = (self._last(file.stem) for file in sorted(self._folder.glob("*.jsonl")))
        return [Device(**{name: one[name] for name in Device.__slots__}) for one in found if one]

    def _require_key(self, name: str, public_key: str) -> None:
        file = self._folder / f"{name}.pem"
        if file.is_file():
            if file.read_text(encoding="ascii").strip() != public_key.strip():
                raise SignatureError(
                    f"{name} has another key than before", hint=f"if it was set up anew, remove {file}"
                )
            return
        if self._known_only:
            raise SignatureError(f"{name} is not known", hint=f"its public key belongs into {file}")
        write_atomically(file, public_key.encode("ascii"))

    def _last(self, name: str) -> dict[str, Any] | None:
        """The last whole line: one that a power cut has torn was never answered for."""
        try:
            lines = (self._folder / f"{name}.jsonl").read_bytes().split(b"\n")[:-1]
        except OSError:
            return None
        for line in reversed(lines):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
        return None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What devices say of one release: how many are well with it, and who has failed, with the reason."""

    good: int
    failed: Mapping[str, str]

    @property
    def count(self) -> int:
        return self.good + len(self.failed)


def feedback(devices: Iterable[Device], product: str, counter: int) -> Feedback:
    """Count the last reports that are about this release."""
    ours = [one for one in devices if (one.product, one.counter) == (product, counter)]
    bad = {
        one.device_id: f"{one.outcome}: {one.reason or 'no reason'}" for one in ours if one.outcome != GOOD
    }
    return Feedback(len(ours) - len(bad), bad)


def _parsed(body: bytes) -> tuple[dict[str, Any], str, bytes]:
    if len(body) > LONGEST_BYTES:
        raise PackageError(f"a report of more than {LONGEST_BYTES >> 10} KiB")
    try:
        document = json.loads(body)
        signed, key = dict(document["signed"]), str(document["public_key"])
        signature = bytes.fromhex(document["signature"])
        if set(signed) != set(FIELDS) or not NAME.fullmatch(signed["device_id"]):
            raise ValueError("not its fields")
        if not key.isascii() or len(key) > 4096:
            raise ValueError("not a key")
        whole = (signed["counter"], signed["sequence"])
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in whole):
            raise ValueError("not numbers")
        text = (signed["product"], signed["outcome"], signed["reason"] or "")
        if not all(isinstance(one, str) and one.isprintable() for one in text):
            raise ValueError("not text")
        if signed["current"] is not None and not isinstance(signed["current"], int):
            raise ValueError("not a counter")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(f"not a report: {error}") from error
    return signed, key, signature


def _verify(public_key: str, signature: bytes, content: bytes) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode("ascii"))
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, content)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        else:
            raise SignatureError("a report is signed by Ed25519 or by ECDSA with P-256, by no other key")
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise SignatureError("the signature of a report is wrong") from error


def _canonical(signed: Mapping[str, Any]) -> bytes:
    """What is signed: compact JSON with sorted keys, in UTF-8."""
    return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
