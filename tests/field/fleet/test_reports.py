"""Reports of devices: signed, kept once, counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeopt.core.errors import PackageError, SignatureError
from edgeopt.field.reports import Inbox, RepeatedReport, feedback

DEVICE = "0123456789abcdef"


def signed(key: PrivateKeyTypes, **changes: Any) -> bytes:
    report = {
        "device_id": DEVICE, "product": "cam", "counter": 3, "outcome": "good", "reason": None, "current": 3,
        "time": 1.8e9, "sequence": 1,
    } | changes  # fmt: skip
    content = json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(content, ec.ECDSA(hashes.SHA256()))
    else:
        assert isinstance(key, ed25519.Ed25519PrivateKey)
        signature = key.sign(content)
    return json.dumps({"signed": report, "signature": signature.hex(), "public_key": public(key)}).encode()


def public(key: PrivateKeyTypes) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()  # type: ignore[union-attr]


@pytest.fixture
def key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def test_reports_are_kept_and_counted(key: PrivateKeyTypes, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "reports")
    inbox.accept(signed(key))
    other = ec.generate_private_key(ec.SECP256R1())
    bad = {"device_id": "f" * 32, "outcome": "rolled-back", "reason": "größer als erlaubt", "current": 2}
    inbox.accept(signed(other, **bad))
    inbox.accept(signed(ed25519.Ed25519PrivateKey.generate(), device_id="e" * 32, counter=2, current=2))
    told = feedback(inbox.devices(), "cam", 3)
    assert (told.good, dict(told.failed)) == (1, {"f" * 32: "rolled-back: größer als erlaubt"})
    assert feedback(inbox.devices(), "other", 3).count == 0


def test_the_last_report_of_a_device_counts(key: PrivateKeyTypes, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    inbox.accept(signed(key, outcome="rolled-back", reason="slow"))
    inbox.accept(signed(key, sequence=2))
    assert feedback(inbox.devices(), "cam", 3).good == 1


def test_what_was_sent_before_is_not_taken_again(key: PrivateKeyTypes, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    inbox.accept(signed(key, sequence=5))
    for sequence in (4, 5):
        with pytest.raises(RepeatedReport):
            inbox.accept(signed(key, sequence=sequence))
    assert len((tmp_path / f"{DEVICE}.jsonl").read_text().splitlines()) == 1


def test_a_line_that_a_power_cut_tore_does_not_hide_the_one_before(
    key: PrivateKeyTypes, tmp_path: Path
) -> None:
    inbox = Inbox(tmp_path)
    inbox.accept(signed(key))
    with (tmp_path / f"{DEVICE}.jsonl").open("ab") as stream:
        stream.write(b'{"device_id": "01')
    assert [one.outcome for one in inbox.devices()] == ["good"]


def test_another_key_is_refused(key: PrivateKeyTypes, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    inbox.accept(signed(key))
    with pytest.raises(SignatureError, match="another key than before"):
        inbox.accept(signed(ed25519.Ed25519PrivateKey.generate(), sequence=2))


def test_only_known_devices_where_that_is_wanted(key: PrivateKeyTypes, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, known_only=True)
    with pytest.raises(SignatureError, match="not known"):
        inbox.accept(signed(key))
    (tmp_path / f"{DEVICE}.pem").write_text(public(key))
    inbox.accept(signed(key))


def test_a_changed_report_is_refused(key: PrivateKeyTypes, tmp_path: Path) -> None:
    body = json.loads(signed(key, outcome="rolled-back"))
    body["signed"]["outcome"] = "good"
    with pytest.raises(SignatureError, match="wrong"):
        Inbox(tmp_path / "reports").accept(json.dumps(body).encode())
    assert not list(tmp_path.glob("reports/*"))


def test_other_kinds_of_keys_are_refused(key: PrivateKeyTypes, tmp_path: Path) -> None:
    body = json.loads(signed(key))
    body["public_key"] = public(rsa.generate_private_key(65537, 2048))
    with pytest.raises(SignatureError):
        Inbox(tmp_path).accept(json.dumps(body).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "../../etc/passwd"}, {"device_id": "A" * 16}, {"device_id": 7}, {"counter": "3"},
        {"sequence": True}, {"outcome": "a\nb"}, {"reason": 5}, {"current": "x"}, {"more": 1},
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(changes: dict[str, Any], key: PrivateKeyTypes, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a report"):
        Inbox(tmp_path / "reports").accept(signed(key, **changes))
    assert not list(tmp_path.glob("reports/*"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 60000, b" " * (65 << 10)])
def test_nonsense_is_refused(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(PackageError):
        Inbox(tmp_path).accept(body)
