"""The first keys, and the root that names them.

The simple form is one key for all roles in one file; the serious one gives each role keys of its own, so
that those of the root can be taken offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Key, Signer

from edgeopt.core.errors import ConfigError
from edgeopt.core.files import write_atomically
from edgeopt.field import keys, roots
from edgeopt.field.keyring import ROOT_DAYS, SINGLE, Keyring
from edgeopt.field.roots import ROLES, RoleSpec
from edgeopt.field.trust import FIRST


def create(
    folder: Path,
    specs: Sequence[RoleSpec] = (),
    algorithm: keys.Algorithm = "ed25519",
    *,
    passphrase: str | None = None,
    public: Mapping[str, Sequence[Key]] | None = None,
    more: Iterable[Signer] = (),
    expires: datetime | None = None,
) -> Keyring:
    """Make keys and the first root that names them.

    Args:
        specs: None makes one key for all roles. A role that is not named gets one key of its own, `snapshot`
            those of `timestamp`.
        public: By role, keys that others hold; the rest is made here.

    Raises:
        ConfigError: There are keys already, or more were given than the role has.
        SignatureError: Too few root keys are here to sign the root.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", hint="edgeopt keys rotate DIR replaces keys")
    now = datetime.now(UTC)
    by_role, made = _made(specs, algorithm, {role: list(found) for role, found in (public or {}).items()})
    thresholds = {spec.role: spec.threshold for spec in specs}
    if "snapshot" not in thresholds:
        thresholds["snapshot"] = thresholds.get("timestamp", 1)
    root = roots.new_root(
        by_role,
        {role: thresholds.get(role, 1) for role in ROLES},
        created=now,
        expires=expires or now + timedelta(days=ROOT_DAYS),
    )
    content = roots.signed(root, None, [*map(keys.FileSigner, made.values()), *more])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, key in made.items():
        keys.save(folder / f"{name}{keys.SUFFIX}", key, passphrase)
    write_atomically(folder / FIRST, content)
    return Keyring.open(folder, passphrase)


def _made(
    specs: Sequence[RoleSpec], algorithm: keys.Algorithm, given: dict[str, list[Key]]
) -> tuple[dict[str, list[tuple[str, Key]]], dict[str, keys.PrivateKey]]:
    """The keys of each role, and the private halves of those that were made."""
    if not specs and not given:
        single = keys.generate(algorithm)
        public = keys.FileSigner(single).public_key
        return {role: [(SINGLE, public)] for role in ROLES}, {SINGLE: single}
    wanted = {spec.role: spec for spec in specs}
    by_role: dict[str, list[tuple[str, Key]]] = {}
    made: dict[str, keys.PrivateKey] = {}
    for role in ROLES:
        if role == "snapshot" and role not in wanted and role not in given:
            continue
        by_role[role] = []
        for number in range(1, wanted.get(role, RoleSpec(role)).keys + 1):
            name = f"{role}-{number}"
            if given.get(role):
                by_role[role].append((name, given[role].pop(0)))
                continue
            made[name] = keys.generate(algorithm)
            by_role[role].append((name, keys.FileSigner(made[name]).public_key))
        if given.get(role):
            raise ConfigError(f"more public keys for role {role} than it has keys", f"--role {role}=1/2")
    by_role.setdefault("snapshot", by_role["timestamp"])
    return by_role, made
