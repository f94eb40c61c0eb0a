"""A folder of keys and of the roots that name them: made, rotated, revoked, listed.

`root.pub.json` and `N.root.pub.json` may be shown to everybody and go to devices; `*.key` are private. Who
keeps some of them elsewhere moves the files away, and brings them along with `--key` when they are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Root

from edgeopt.core.errors import ConfigError, SignatureError
from edgeopt.core.files import write_atomically
from edgeopt.field import keys, roots
from edgeopt.field.metadata import SHORT
from edgeopt.field.roots import ROLES, name_of
from edgeopt.field.trust import FIRST, TIME_FORMAT, Trust

SINGLE = "edgeopt"
"""Name of the one key of the simple form."""
RETIRED = "retired"
ROOT_DAYS = 5 * 365
"""How long a root may be installed with. An expired one stops new installs, never a running model."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """A folder with its verified chain of roots.

    Attributes:
        passphrase: Of its key files; None takes $EDGEOPT_KEY_PASSPHRASE, if they are encrypted.
    """

    folder: Path
    trust: Trust
    passphrase: str | None = None

    @classmethod
    def open(cls, folder: Path, passphrase: str | None = None) -> Keyring:
        """Read a folder that `edgeopt keys new` made.

        Raises:
            ConfigError: It is none.
            PackageError, SignatureError: Its roots are damaged.
        """
        if not folder.is_dir():
            raise ConfigError(f"no such folder: {folder}", hint="edgeopt keys new DIR makes it")
        return cls(folder, Trust.open(folder), passphrase)

    def listing(self) -> dict[str, Any]:
        """The JSON answer: versions, expiry, and every key with its roles and whether its file is here."""
        root = self.trust.root
        every = {keyid: r for r in self.trust.roots.values() for keyid in r.keys}
        return {
            "folder": str(self.folder.absolute()),
            "root_version": root.version,
            "expires": root.expires.strftime(TIME_FORMAT),
            "thresholds": {role: root.roles[role].threshold for role in ROLES},
            "keys": [self._described(keyid, last) for keyid, last in every.items()],
        }

    def rotate(
        self,
        roles: Sequence[str],
        algorithm: keys.Algorithm = "ed25519",
        *,
        more: Iterable[Signer] = (),
        public: Mapping[str, Sequence[Key]] | None = None,
        expires: datetime | None = None,
    ) -> int:
        """Replace every key of some roles by a new one, in a root that the old and the new root keys sign.

        Args:
            more: Signers whose keys are kept elsewhere.
            public: By role, keys that others hold; the rest of the role's keys is made here.

        Returns:
            The new root's version.

        Raises:
            SignatureError: Too few root keys are here.
            ConfigError: More keys were given than the role has.
        """
        old = self.trust.root
        later = self._successor(old, expires)
        if "timestamp" in roles and old.roles["snapshot"].keyids == old.roles["timestamp"].keyids:
            roles = [*roles, "snapshot"]  # made as one, they stay one
        given = {role: list(found) for role, found in (public or {}).items()}
        made: dict[str, keys.PrivateKey] = {}
        named: set[str] = set()
        for keyid in dict.fromkeys(k for role in roles for k in old.roles[role].keyids):
            of = [role for role in ROLES if role in roles and keyid in old.roles[role].keyids]
            name = self._free(re.sub(r"-[0-9]+$", "", name_of(old, keyid)), named)
            named.add(name)
            outside = next((given[role].pop(0) for role in of if given.get(role)), None)
            if outside is None:
                made[name] = keys.generate(algorithm)
                outside = keys.FileSigner(made[name]).public_key
            roots.replace_key(later, keyid, (name, outside), of)
        if left := [role for role, found in given.items() if found]:
            raise ConfigError(f"more public keys for role {left[0]} than it has keys")
        return self._publish(later, old, made, more)

    def revoke(self, key: str, *, more: Iterable[Signer] = (), expires: datetime | None = None) -> int:
        """Take a key out of every role.

        Args:
            key: Its id, the beginning of that, or its name.

        Returns:
            The new root's version.

        Raises:
            ConfigError: No such key, or a role would have fewer keys than it needs.
            SignatureError: Too few root keys are here.
        """
        old = self.trust.root
        matches = [keyid for keyid in old.keys if keyid.startswith(key) or name_of(old, keyid) == key]
        if len(matches) != 1:
            found = "no key" if not matches else f"{len(matches)} keys"
            raise ConfigError(
                f"{found} {key!r} in root version {old.version}", hint="see edgeopt keys list DIR"
            )
        later = self._successor(old, expires)
        roots.remove_key(later, matches[0])
        return self._publish(later, old, {}, more)

    def signers(self, keyids: Iterable[str]) -> list[Signer]:
        """Those of the keys whose files are here."""
        found = []
        for keyid in dict.fromkeys(keyids):
            root = next(r for _, r in sorted(self.trust.roots.items(), reverse=True) if keyid in r.keys)
            path = self._file(name_of(root, keyid))
            if path.is_file():
                found.append(keys.load(path, self.passphrase))
        return found

    def _publish(
        self, later: Root, old: Root, made: Mapping[str, keys.PrivateKey], more: Iterable[Signer]
    ) -> int:
        """Key files first, then the root that names them, then old ones away: no root without keys."""
        here = self.signers([*old.roles["root"].keyids])
        fresh = [keys.FileSigner(key) for key in made.values()]
        try:
            content = roots.signed(later, old, [*here, *fresh, *more])
        except SignatureError as error:
            raise SignatureError(
                error.message, hint="bring the root keys that are kept elsewhere: --key FILE|pkcs11:…"
            ) from None
        written = []
        try:
            for name, key in made.items():
                keys.save(self._file(name), key, self.passphrase)
                written.append(self._file(name))
            write_atomically(self.folder / f"{later.version}.{FIRST}", content)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        for keyid in old.keys.keys() - later.keys.keys():
            self._retire(self._file(name_of(old, keyid)))
        return later.version

    def _retire(self, path: Path) -> None:
        if path.is_file():
            (self.folder / RETIRED).mkdir(mode=0o700, exist_ok=True)
            path.rename(self.folder / RETIRED / path.name)

    def _successor(self, old: Root, expires: datetime | None) -> Root:
        now = max(datetime.now(UTC), self.trust.known_time())
        return roots.successor(old, created=now, expires=expires or now + timedelta(days=ROOT_DAYS))

    def _free(self, base: str, taken: set[str]) -> str:
        """The next name with a number: one that was used before would tell two keys apart by nothing."""
        used = {name_of(root, keyid) for root in self.trust.roots.values() for keyid in root.keys}
        used |= taken | {path.name.removesuffix(keys.SUFFIX) for path in self.folder.glob("*.key")}
        number = 2 if base == SINGLE else 1
        while f"{base}-{number}" in used:
            number += 1
        return f"{base}-{number}"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{keys.SUFFIX}"

    def _described(self, keyid: str, last: Root) -> dict[str, Any]:
        now = self.trust.root
        name = name_of(last, keyid)
        return {
            "keyid": keyid,
            "name": name,
            "algorithm": last.keys[keyid].scheme,
            "roles": [role for role in ROLES if keyid in now.roles[role].keyids],
            "revoked_in": None if keyid in now.keys else last.version + 1,
            "here": self._file(name).is_file(),
        }


def shown(listed: Mapping[str, Any]) -> list[str]:
    """`Keyring.listing` in lines."""
    lines = [f"root version {listed['root_version']}, expires {listed['expires']}"]
    for role, threshold in listed["thresholds"].items():
        count = sum(role in key["roles"] for key in listed["keys"])
        lines.append(f"  {role}: {threshold} of {count}")
    for key in listed["keys"]:
        what = ", ".join(key["roles"]) or f"revoked in root version {key['revoked_in']}"
        where = "" if key["here"] or not key["roles"] else "  (its file is elsewhere)"
        lines.append(f"  {key['keyid'][:SHORT]}  {key['name']}  {key['algorithm']}  {what}{where}")
    return lines
