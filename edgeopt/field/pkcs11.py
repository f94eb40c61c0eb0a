"""Keys that never leave a token: `pkcs11:token=LABEL;id=%02?module-path=/usr/lib/….so&pin-source=FILE`.

securesystemslib speaks to the token, through python-pkcs11 and the module that its maker ships. Tokens sign
with ECDSA P-256: few have Ed25519.

Source: RFC 7512, the PKCS #11 URI scheme: of its attributes `token`, `id`, `module-path`, `pin-value` and
`pin-source` are understood.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, Signature, Signer, SSlibKey

from edgeopt.core.errors import ConfigError

SCHEME = "pkcs11:"
PIN = "EDGEOPT_KEY_PIN"
MODULE = "PYKCS11LIB"
"""Where securesystemslib looks up the path of the module."""

_UNDERSTOOD = {"token", "id", "module-path", "pin-value", "pin-source"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A key on a token.

    Attributes:
        token: Its label; None where only one is there.
        key_id: CKA_ID, one byte.
        module: Path of the PKCS#11 module; None takes $PYKCS11LIB.
    """

    token: str | None
    key_id: int
    module: str | None
    pin_value: str | None
    pin_source: str | None

    def pin(self) -> str:
        """The user's PIN.

        Raises:
            ConfigError: Nobody says it.
        """
        if self.pin_source:
            try:
                return Path(self.pin_source.removeprefix("file:")).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(f"cannot read the PIN: {self.pin_source}: {error.strerror}") from error
        pin = self.pin_value or os.environ.get(PIN)
        if not pin:
            raise ConfigError("the token wants a PIN", hint=f"give it in {PIN}, or as pin-source=FILE")
        return pin


def parse(uri: str) -> Reference:
    """Read a PKCS#11 URI.

    Raises:
        ConfigError: It is none, or says what is not understood.
    """
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    said: dict[str, str] = {}
    for part in (*path.split(";"), *query.split("&")):
        name, separator, value = part.partition("=")
        if not part:
            continue
        if not separator or name not in _UNDERSTOOD:
            raise ConfigError(
                f"--key {uri}: {name!r} is not understood",
                hint="pkcs11:token=LABEL;id=%02?module-path=/usr/lib/….so",
            )
        said[name] = value
    key_id = unquote_to_bytes(said.get("id", "%02"))  # 2 is a smart card's slot for signatures
    if len(key_id) != 1:
        raise ConfigError(f"--key {uri}: id is not one byte, as %02")
    token, module, pin_value, pin_source = (
        unquote(said[name]) if name in said else None
        for name in ("token", "module-path", "pin-value", "pin-source")
    )
    return Reference(token, key_id[0], module, pin_value, pin_source)


def public_key(uri: str) -> SSlibKey:
    """The public half of a token's key.

    Raises:
        ConfigError: No such token or key, not on P-256, or python-pkcs11 is not installed.
    """
    reference = parse(uri)
    with _token(reference):
        _, key = HSMSigner.import_(reference.key_id, reference.token, lambda _: reference.pin())
    if key.scheme != "ecdsa-sha2-nistp256":
        raise ConfigError(f"the token's key is of {key.scheme}, not of ECDSA P-256")
    return key


def signer(uri: str) -> Signer:
    """Signs with a token's key.

    Raises:
        ConfigError: As `public_key`, or nobody says the PIN.
    """
    return TokenSigner(parse(uri), public_key(uri))


class TokenSigner(HSMSigner):
    """Signs on the token, and says in one line why it could not."""

    def __init__(self, reference: Reference, key: SSlibKey) -> None:
        super().__init__(reference.key_id, key, lambda _: reference.pin(), reference.token)
        self._reference = reference

    def sign(self, payload: bytes) -> Signature:
        with _token(self._reference):
            return super().sign(payload)


@contextmanager
def _token(reference: Reference) -> Iterator[None]:
    """Name the module for as long as the block takes, and turn what a token raises into one line."""
    before = os.environ.get(MODULE)
    if reference.module:
        os.environ[MODULE] = reference.module
    try:
        yield
    except ConfigError:
        raise
    except UnsupportedLibraryError as error:
        raise ConfigError(
            f"keys on tokens need more: {error}",
            hint="pip install PyKCS11 asn1crypto, and the token's module",
        ) from error
    except Exception as error:  # python-pkcs11's errors share no base class that exists without it
        text = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"the token does not sign: {text}", hint=f"module-path or {MODULE} names the token's module"
        ) from error
    finally:
        if before is None:
            os.environ.pop(MODULE, None)
        else:
            os.environ[MODULE] = before
