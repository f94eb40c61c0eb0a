"""Private keys: made, kept in files that only their owner reads, and loaded as signers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey
from securesystemslib.signer import Key as Key  # named by the command line, which imports no third party's
from securesystemslib.signer import Signer as Signer

from edgeopt.core.errors import ConfigError
from edgeopt.core.files import cannot_write
from edgeopt.field import pkcs11

Algorithm = Literal["ed25519", "ecdsa"]
PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

PASSPHRASE = "EDGEOPT_KEY_PASSPHRASE"  # noqa: S105 - the variable's name
SUFFIX = ".key"
PUBLIC_SUFFIX = ".pub.pem"


class FileSigner(CryptoSigner):
    """A key of a file. Signs the same bytes with the same signature, so that packages can be made again.

    ECDSA takes the nonce of RFC 6979 instead of a random one.
    """

    def __init__(self, private_key: PrivateKey) -> None:
        super().__init__(private_key)
        self._key = private_key

    def sign(self, payload: bytes) -> Signature:
        if isinstance(self._key, Ed25519PrivateKey):
            return super().sign(payload)
        signed = self._key.sign(payload, ec.ECDSA(SHA256(), deterministic_signing=True))
        return Signature(self.public_key.keyid, signed.hex())


def generate(algorithm: Algorithm) -> PrivateKey:
    """A new private key: Ed25519, or ECDSA on P-256."""
    if algorithm == "ed25519":
        return Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def save(path: Path, private_key: PrivateKey, passphrase: str | None) -> None:
    """Write a new key file: PKCS#8 PEM, mode 0600, encrypted where there is a passphrase.

    Raises:
        EdgeoptError: It cannot be written; a file that exists is never replaced.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    content = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def load(reference: str | Path, passphrase: str | None = None) -> Signer:
    """The signer that `--key` names: a file, or a key on a token (`pkcs11:…`).

    Args:
        passphrase: Of an encrypted file; None takes $EDGEOPT_KEY_PASSPHRASE.

    Raises:
        ConfigError: No such file, not a private key of Ed25519 or P-256, a wrong or missing passphrase, no
            such token, or python-pkcs11 is not installed.
    """
    if str(reference).startswith(pkcs11.SCHEME):
        return pkcs11.signer(str(reference))
    path = Path(reference)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the key {path}: {error.strerror}", "--key names a key file"
        ) from error
    return FileSigner(_private_key(path, content, passphrase or os.environ.get(PASSPHRASE) or None))


def load_public(reference: str) -> SSlibKey:
    """A public key by itself: of a PEM file, or of a token (`pkcs11:…`).

    Raises:
        ConfigError: There is none, or it is not of Ed25519 or P-256.
    """
    if reference.startswith(pkcs11.SCHEME):
        return pkcs11.public_key(reference)
    path = Path(reference)
    try:
        found = serialization.load_pem_public_key(path.read_bytes())
        return _supported(SSlibKey.from_crypto(found), path)
    except OSError as error:
        raise ConfigError(f"cannot read the public key {path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a public key in PEM: {error}") from error


def public_pem(private_key: PrivateKey) -> bytes:
    """The public half of a key, as `load_public` reads it."""
    return private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _private_key(path: Path, content: bytes, passphrase: str | None) -> PrivateKey:
    secret = passphrase.encode() if passphrase else None
    try:
        try:
            key = serialization.load_pem_private_key(content, secret)
        except TypeError:
            if secret is None:
                raise ConfigError(
                    f"{path} is encrypted", hint=f"give its passphrase in {PASSPHRASE}, or --passphrase-file"
                ) from None
            key = serialization.load_pem_private_key(content, None)  # this one has no passphrase
    except (ValueError, UnsupportedAlgorithm) as error:
        why = "wrong passphrase" if b"ENCRYPTED" in content else "not a private key in PEM"
        raise ConfigError(f"{path}: {why}", hint="edgeopt keys new DIR makes one") from error
    if isinstance(key, Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise ConfigError(f"{path} is {type(key).__name__}, not a key of Ed25519 or ECDSA P-256")


def _supported(key: SSlibKey, path: Path) -> SSlibKey:
    if key.scheme not in ("ed25519", "ecdsa-sha2-nistp256"):
        raise ConfigError(f"{path} is of {key.scheme}, not of Ed25519 or ECDSA P-256")
    return key
