"""A key on a token: SoftHSM2, which is a token in software behind the same interface."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeopt.core.errors import ConfigError, PackageError
from edgeopt.field import keys
from edgeopt.field.founding import create
from edgeopt.field.roots import RoleSpec
from edgeopt.field.trust import FIRST
from edgeopt.field.verify import verify
from tests.field import made

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
MODULE = next((path for path in MODULES if Path(path).is_file()), None)
PIN = "1234"


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a P-256 key that a fresh token made itself."""
    assert MODULE, "install softhsm2 and opensc, as `make test` does"
    store = tmp_path / "tokens"
    store.mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {store}\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("EDGEOPT_KEY_PIN", PIN)
    for command in (
        ["softhsm2-util", "--init-token", "--free", "--label", "release", "--pin", PIN, "--so-pin", PIN],
        ["pkcs11-tool", "--module", MODULE, "--token-label", "release", "--login", "--pin", PIN,
         "--keypairgen", "--key-type", "EC:prime256v1", "--id", "02", "--label", "targets"],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return f"pkcs11:token=release;id=%02?module-path={MODULE}"


def test_a_token_signs_a_package(token: str, folder: Path, tmp_path: Path) -> None:
    keyring = create(tmp_path / "keys", [RoleSpec("targets")], public={"targets": [keys.load_public(token)]})
    assert sorted(path.name for path in keyring.folder.iterdir()) == ["root-1.key", FIRST, "timestamp-1.key"]
    content = made.sealed({"manifest.json": b"{}"}, keyring.trust, [keys.load(token)])
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(
        PackageError, match=r"manifest\.json"
    ):  # all before it has passed: the signature is good
        verify(tmp_path / "p", keyring.trust)


def test_what_a_token_refuses_is_one_line(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the token does not sign"):
        keys.load(token.replace("release", "other"))
    monkeypatch.setenv("EDGEOPT_KEY_PIN", "9999")
    with pytest.raises(ConfigError, match="the token does not sign"):
        keys.load(token).sign(b"payload")
