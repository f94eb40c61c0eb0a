"""Signs what a package holds: every file by length and hash, the counter and the expiry. Pure, no IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgeopt.core.errors import ConfigError
from edgeopt.field.metadata import FIELD, SHORT, serialised
from edgeopt.field.roots import name_of
from edgeopt.field.trust import Trust

FORMAT = 1
LARGEST_COUNTER = 2**53 - 1
"""What every JSON reader holds exactly."""


def targets(
    files: Mapping[str, tuple[int, str]], *, product: str, counter: int, expires: datetime
) -> Targets:
    """The list of a package's files.

    Args:
        files: Length and SHA-256 by path.

    Raises:
        ConfigError: The counter is not one.
    """
    if not 1 <= counter <= LARGEST_COUNTER:
        raise ConfigError(f"--counter {counter} must be between 1 and {LARGEST_COUNTER}")
    listed = {
        path: TargetFile(length, {"sha256": digest}, path) for path, (length, digest) in sorted(files.items())
    }
    field = {FIELD: {"format": FORMAT, "product": product}}
    return Targets(version=counter, expires=expires, targets=listed, unrecognized_fields=field)


def signed(listed: Targets, trust: Trust, signers: Iterable[Signer]) -> bytes:
    """`targets.json`.

    Raises:
        ConfigError: A key is not one of role targets, or there are too few.
    """
    root = trust.root
    role = root.roles["targets"]
    metadata = Metadata(listed)
    for signer in signers:
        if signer.public_key.keyid not in role.keyids:
            raise ConfigError(_stranger(signer.public_key.keyid, trust), _choices(role.keyids, trust))
        metadata.sign(signer, append=True)
    if len(metadata.signatures) < role.threshold:
        raise ConfigError(
            f"{len(metadata.signatures)} of the {role.threshold} keys that role targets needs",
            _choices(role.keyids, trust),
        )
    return serialised(metadata)


def _stranger(keyid: str, trust: Trust) -> str:
    what = f"key {keyid[:SHORT]} may not sign packages: it is not one of role targets in root version"
    was = any(keyid in root.roles["targets"].keyids for root in trust.roots.values())
    return f"{what} {trust.root.version}{', and was revoked' if was else ''}"


def _choices(keyids: Sequence[str], trust: Trust) -> str:
    names = ", ".join(f"{keyid[:SHORT]} ({name_of(trust.root, keyid)})" for keyid in keyids)
    return f"--key, once for each, of {names}"
