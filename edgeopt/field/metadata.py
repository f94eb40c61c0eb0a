"""TUF metadata in the one form that edgeopt writes, and its signatures. Pure, no IO.

python-tuf defines the metadata; what is added is strictness. One serialisation, and no field outside of what
is signed: so no byte of a metadata file can change unnoticed, not even where TUF would not mind.

Source: TUF specification 1.0.31, sections 4 (document formats) and 5 (detailed client workflow).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError
from tuf.api.serialization.json import JSONSerializer

from edgeopt.core.errors import PackageError, SignatureError
from edgeopt.field import ustar

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)

FIELD = "edgeopt"
"""Name of what edgeopt adds to metadata, always inside of what is signed."""
SHORT = 12
"""Characters of a key id that are shown."""

_SIGNATURE = re.compile(r"[0-9a-f]+")
_SCHEMES = {("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")}


def serialised(metadata: Metadata[T]) -> bytes:
    """The bytes of a metadata file: compact JSON with sorted keys, signatures sorted by key id."""
    metadata.signatures = dict(sorted(metadata.signatures.items()))
    return JSONSerializer(compact=True).serialize(metadata)


def parse(name: str, content: bytes, kind: type[T]) -> Metadata[T]:
    """Read a metadata file of one kind; its signatures are not checked here.

    Args:
        name: What it is called in errors.

    Raises:
        PackageError: It is not what `serialised` writes, or not of this kind.
    """
    if len(content) > ustar.MAX_METADATA_BYTES:
        raise PackageError(f"{name} is larger than metadata ever is")
    try:
        metadata: Metadata[T] = Metadata.from_bytes(content)
        is_canonical = list(metadata.signatures) == sorted(metadata.signatures) and (
            serialised(metadata) == content
        )
        _ = metadata.signed_bytes
    except (DeserializationError, SerializationError, RepositoryError, ValueError, RecursionError) as error:
        raise PackageError(f"{name} is not TUF metadata: {_reason(error)}") from error
    if not isinstance(metadata.signed, kind):
        raise PackageError(f"{name} holds {metadata.signed.type} metadata")
    if not is_canonical:
        raise PackageError(f"{name} is not written as edgeopt writes it")
    if metadata.unrecognized_fields or any(s.unrecognized_fields for s in metadata.signatures.values()):
        raise PackageError(f"{name} has a field that no signature covers")
    if type(metadata.signed.version) is not int:
        raise PackageError(f"{name} has no version")
    for signature in metadata.signatures.values():
        if not _SIGNATURE.fullmatch(signature.signature):
            raise PackageError(f"{name} has a signature that is not lower-case hexadecimal")
    if isinstance(metadata.signed, Root):
        _check_root(name, metadata.signed)
    return metadata


def check_signatures(
    name: str, metadata: Metadata[T], signers: Sequence[tuple[Root, str]], former: Sequence[Root] = ()
) -> str:
    """Check that each role's threshold is met, and that no signature is listed which does not count.

    Args:
        signers: Roots, and the role of each that has to have signed.
        former: Earlier roots, to say of a key that it was revoked.

    Returns:
        Who has signed, in words.

    Raises:
        SignatureError: Says exactly what is missing or wrong.
    """
    payload = metadata.signed_bytes
    for keyid, signature in metadata.signatures.items():
        root = next((root for root, role in signers if keyid in root.roles[role].keyids), None)
        if root is None:
            raise SignatureError(f"{name}: {_stranger(keyid, signers, former)}")
        try:
            root.keys[keyid].verify_signature(signature, payload)
        except UnverifiedSignatureError:
            raise SignatureError(
                f"{name}: the signature of key {keyid[:SHORT]} is wrong: it, or what it signs, was changed"
            ) from None
    said = []
    for root, role in signers:
        named = root.roles[role]
        # Two ids of one key are one signer.
        keys = {str(root.keys[keyid].keyval) for keyid in named.keyids if keyid in metadata.signatures}
        count = (
            f"{len(keys)} of the {named.threshold} keys that role {role} needs (root version {root.version})"
        )
        if len(keys) < named.threshold:
            raise SignatureError(f"{name}: signed by {count}")
        said.append(count)
    return "signed by " + " and ".join(said)


def _stranger(keyid: str, signers: Sequence[tuple[Root, str]], former: Sequence[Root]) -> str:
    root, role = signers[-1]
    known = f"signed by key {keyid[:SHORT]}, which is not one of role {role} in root version {root.version}"
    others = sorted(other for other, named in root.roles.items() if keyid in named.keyids)
    if others:
        return f"{known}: it is one of role {', '.join(others)}"
    last = max((r.version for r in former if keyid in r.roles[role].keyids), default=None)
    return known if last is None else f"{known}: revoked, it was one until root version {last}"


def _check_root(name: str, root: Root) -> None:
    for role, named in root.roles.items():
        if missing := [keyid for keyid in named.keyids if keyid not in root.keys]:
            raise PackageError(f"{name}: role {role} names key {missing[0][:SHORT]}, which is not there")
    for keyid, key in root.keys.items():
        if (key.keytype, key.scheme) not in _SCHEMES:
            raise PackageError(
                f"{name}: key {keyid[:SHORT]} is {key.keytype}/{key.scheme}, not Ed25519 or P-256"
            )


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__} {text[:120]}".strip()
