"""Root metadata: who may sign what, and how many of them it takes. Pure, no IO.

Source: TUF specification 1.0.31, section 4.3 (root.json) and 6.1 (key management and migration).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Role, Root

from edgeopt.core.errors import ConfigError
from edgeopt.field.metadata import FIELD, SHORT, check_signatures, serialised
from edgeopt.field.trust import TIME_FORMAT

ROLES = ("root", "targets", "snapshot", "timestamp")
"""Of TUF. Packages need `root` and `targets`; `snapshot` and `timestamp` are a pull repository's."""

NAME = "name"
"""Entry of a key's `edgeopt` field: what its file is called, without the suffix."""


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """How many of how many keys a role needs: `root=2/3`."""

    role: str
    threshold: int = 1
    keys: int = 1

    @classmethod
    def parse(cls, text: str) -> RoleSpec:
        """Read `ROLE`, or `ROLE=THRESHOLD/KEYS`.

        Raises:
            ConfigError: It is neither.
        """
        found = re.fullmatch(r"([a-z]+)(?:=([1-9][0-9]?)/([1-9][0-9]?))?", text)
        if not found or found[1] not in ROLES:
            raise ConfigError(
                f"--role {text!r} is not understood", hint=f"root=2/3, with one of {', '.join(ROLES)}"
            )
        threshold, keys = int(found[2] or 1), int(found[3] or 1)
        if threshold > keys:
            raise ConfigError(f"--role {text}: {threshold} of {keys} keys can never sign")
        return cls(found[1], threshold, keys)


def new_root(
    keys: Mapping[str, Sequence[tuple[str, Key]]],
    thresholds: Mapping[str, int],
    *,
    created: datetime,
    expires: datetime,
) -> Root:
    """Root version 1.

    Args:
        keys: By role, its keys with their names.
        thresholds: By role.
    """
    root = Root(expires=expires, roles={role: Role([], thresholds[role]) for role in ROLES})
    for role in ROLES:
        for name, key in keys[role]:
            _add(root, role, name, key)
    root.unrecognized_fields[FIELD] = {"created": created.strftime(TIME_FORMAT)}
    return root


def successor(root: Root, *, created: datetime, expires: datetime) -> Root:
    """The next version of a root, to be changed before it is signed."""
    later = deepcopy(root)
    later.version, later.expires = root.version + 1, expires
    later.unrecognized_fields[FIELD] = {"created": created.strftime(TIME_FORMAT)}
    return later


def replace_key(root: Root, old: str, replacement: tuple[str, Key], roles: Iterable[str]) -> None:
    """Put a key in the place of another, in those of the roles that have it."""
    name, key = replacement
    for role in roles:
        if old in root.roles[role].keyids:
            root.revoke_key(old, role)
            _add(root, role, name, key)


def remove_key(root: Root, keyid: str) -> None:
    """Take a key out of every role.

    Raises:
        ConfigError: A role would have fewer keys than it needs.
    """
    for role, named in root.roles.items():
        if keyid in named.keyids:
            if len(named.keyids) <= named.threshold:
                raise ConfigError(
                    f"without {keyid[:SHORT]} role {role} has fewer keys than the {named.threshold} it needs",
                    hint=f"edgeopt keys rotate DIR --role {role} puts new keys in their place",
                )
            root.revoke_key(keyid, role)


def name_of(root: Root, keyid: str) -> str:
    """What a key's file is called, without the suffix; its id where nobody said."""
    field = root.keys[keyid].unrecognized_fields.get(FIELD)
    name = field.get(NAME) if isinstance(field, dict) else None
    return name if isinstance(name, str) else keyid[:SHORT]


def signed(root: Root, previous: Root | None, signers: Iterable[Signer]) -> bytes:
    """Sign a root with those keys that its own role or that of its predecessor names.

    Raises:
        SignatureError: A threshold is not met.
    """
    named = {*root.roles["root"].keyids, *(previous.roles["root"].keyids if previous else ())}
    metadata = Metadata(root)
    for signer in signers:
        if signer.public_key.keyid in named:
            metadata.sign(signer, append=True)
    needed = [(previous, "root"), (root, "root")] if previous else [(root, "root")]
    check_signatures(f"root version {root.version}", metadata, needed)
    return serialised(metadata)


def _add(root: Root, role: str, name: str, key: Key) -> None:
    known = root.keys.get(key.keyid)
    if known is None:
        key = deepcopy(key)
        key.unrecognized_fields[FIELD] = {NAME: name}
    root.add_key(known or key, role)
