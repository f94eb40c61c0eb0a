"""A static repository for devices that fetch updates themselves: TUF metadata and files, by any web server.

    FOLDER/metadata/timestamp.json            what is newest, and which share of the devices may take it
    FOLDER/metadata/N.snapshot.json           which targets metadata belongs to it
    FOLDER/metadata/COUNTER.targets.json      the package's own, byte for byte
    FOLDER/metadata/N.root.json               the package's chain of roots
    FOLDER/targets/DIR/SHA256.NAME            the package's files

One repository is of one product. The timestamp is written last: whoever reads sees the old release or the
new one. Source: https://theupdateframework.github.io/specification, consistent snapshots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.core.digest import file_digest
from edgeopt.core.errors import ConfigError, PackageError, SignatureError
from edgeopt.core.files import write_atomically, written_atomically
from edgeopt.field import verify
from edgeopt.field.metadata import FIELD, T, parse, serialised
from edgeopt.field.parcel import Parcel, Place
from edgeopt.field.trust import Trust

if TYPE_CHECKING:
    from securesystemslib.signer import Signer
    from tuf.api.metadata import Metadata, Root

TIMESTAMP = "timestamp.json"
MILLION = 1_000_000
TIMESTAMP_DAYS = 14
SNAPSHOT_DAYS = 90


@dataclass(frozen=True, slots=True)
class Standing:
    """What a repository offers.

    Attributes:
        share: Of the devices that may take it, 0..1.
        expires: When devices refuse to hear of it any more, unless it is refreshed.
    """

    product: str
    counter: int
    share: float
    version: int
    expires: datetime

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "product": self.product,
            "counter": self.counter,
            "share": self.share,
            "timestamp_version": self.version,
            "expires": self.expires.isoformat(),
        }


def standing(folder: Path) -> Standing | None:
    """What it offers; None: nothing yet.

    Raises:
        PackageError: Its metadata makes no sense.
    """
    from tuf.api.metadata import Snapshot, Targets, Timestamp

    if not (folder / "metadata" / TIMESTAMP).is_file():
        return None
    try:
        stamp = _load(folder, TIMESTAMP, Timestamp).signed
        snapshot = _load(folder, f"{stamp.snapshot_meta.version}.snapshot.json", Snapshot).signed
        counter = snapshot.meta["targets.json"].version
        targets = _load(folder, f"{counter}.targets.json", Targets).signed
        product = str(targets.unrecognized_fields[FIELD]["product"])
        share = stamp.unrecognized_fields.get(FIELD, {}).get("share_ppm", MILLION) / MILLION
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{folder} is not a repository: {type(error).__name__}: {error}") from error
    return Standing(product, counter, share, stamp.version, stamp.expires)


def publish(
    folder: Path,
    parcel: Parcel,
    signers: Sequence[Signer],
    *,
    share: float = 1.0,
    timestamp_days: float = TIMESTAMP_DAYS,
    snapshot_days: float = SNAPSHOT_DAYS,
) -> Standing:
    """Offer a release to a share of the devices.

    It is verified with the roots that the repository has had before, so with those that its devices have; for
    the first one, whoever publishes says whom to trust (`verify`).

    Args:
        signers: Keys of the roles snapshot and timestamp.

    Raises:
        ConfigError: It is another product, or older than what is offered.
        PackageError, SignatureError: It is not good; or the keys are not those of the roles, or too few.
        EdgeoptError: It cannot be written.
    """
    before = standing(folder)
    if roots := _roots(folder):
        verify.verify(parcel.file, Trust.of([(file.name, file.read_bytes()) for file in roots]))
    targets = parcel.metadata["targets.json"].encode()
    _require_newer(folder, before, parcel, targets)
    root = _newest_root(parcel)
    version = _next_snapshot(folder)
    snapshot = _snapshot(version, parcel.counter, targets, snapshot_days, root, signers)
    stamp = _timestamp(before, snapshot, version, share, timestamp_days, root, signers)
    # Nothing is written before all is signed; and the timestamp last, which makes the rest visible.
    for place in parcel.files:
        _store(parcel, place, folder / "targets" / _hashed(place))
    metadata = folder / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    for name, text in parcel.metadata.items():
        if name != "targets.json":
            write_atomically(metadata / name, text.encode())
    write_atomically(metadata / f"{parcel.counter}.targets.json", targets)
    write_atomically(metadata / f"{version}.snapshot.json", snapshot)
    write_atomically(metadata / TIMESTAMP, stamp)
    return _required(folder)


def advance(
    folder: Path,
    signers: Sequence[Signer],
    share: float | None,
    *,
    timestamp_days: float = TIMESTAMP_DAYS,
    snapshot_days: float = SNAPSHOT_DAYS,
) -> Standing:
    """Offer the same release to another share of the devices, or, with None, sign the offer anew.

    A snapshot that would expire before the timestamp is signed anew with it.

    Raises:
        ConfigError: Nothing is offered, or the share would shrink: whoever has a release keeps it.
        SignatureError: The keys are not those of the roles, or too few.
        EdgeoptError: It cannot be written.
    """
    from tuf.api.metadata import Root, Snapshot, Timestamp

    before = _required(folder)
    if share is not None and share < before.share:
        raise ConfigError(
            f"{before.share:.1%} of the devices may take {before.counter} already: it cannot be taken back",
            hint="publish a release with a higher counter that does better",
        )
    metadata = folder / "metadata"
    root = _load(folder, _roots(folder)[-1].name, Root)
    version = _load(folder, TIMESTAMP, Timestamp).signed.snapshot_meta.version
    name = f"{version}.snapshot.json"
    snapshot = (metadata / name).read_bytes()
    if _load(folder, name, Snapshot).signed.expires < _in_days(timestamp_days):
        version = _next_snapshot(folder)
        targets = (metadata / f"{before.counter}.targets.json").read_bytes()
        snapshot = _snapshot(version, before.counter, targets, snapshot_days, root, signers)
    wanted = before.share if share is None else share
    stamp = _timestamp(before, snapshot, version, wanted, timestamp_days, root, signers)
    write_atomically(metadata / f"{version}.snapshot.json", snapshot)
    write_atomically(metadata / TIMESTAMP, stamp)
    return _required(folder)


def _snapshot(
    version: int, counter: int, targets: bytes, days: float, root: Metadata[Root], signers: Sequence[Signer]
) -> bytes:
    from tuf.api.metadata import Metadata, MetaFile, Snapshot

    listed = {"targets.json": MetaFile(counter, len(targets), {"sha256": _sha256(targets)})}
    snapshot = Metadata(Snapshot(version=version, expires=_in_days(days), meta=listed))
    _sign(snapshot, "snapshot", root, signers)
    return serialised(snapshot)


def _timestamp(
    before: Standing | None,
    snapshot: bytes,
    snapshot_version: int,
    share: float,
    days: float,
    root: Metadata[Root],
    signers: Sequence[Signer],
) -> bytes:
    from tuf.api.metadata import Metadata, MetaFile, Timestamp

    if not 0 < share <= 1:
        raise ConfigError(f"{share:.2%} is no share of devices", hint="--share 5%, up to 100%")
    stamp = Metadata(
        Timestamp(
            version=before.version + 1 if before else 1,
            expires=_in_days(days),
            snapshot_meta=MetaFile(snapshot_version, len(snapshot), {"sha256": _sha256(snapshot)}),
            unrecognized_fields={FIELD: {"share_ppm": round(share * MILLION)}},
        )
    )
    _sign(stamp, "timestamp", root, signers)
    return serialised(stamp)


def _sign(metadata: Metadata[Any], role: str, root: Metadata[Root], signers: Sequence[Signer]) -> None:
    """Sign with those of the keys that the role names.

    Raises:
        SignatureError: They are too few.
    """
    named = root.signed.roles[role]
    for signer in signers:
        if signer.public_key.keyid in named.keyids:
            metadata.sign(signer, append=True)
    found = root.signed.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    if not found:
        raise SignatureError(
            f"{len(found.signed)} of the {found.threshold} keys that the role {role} needs were given",
            hint="--key, as often as needed: root metadata says which keys a role has (edgeopt keys)",
        )


def _require_newer(folder: Path, before: Standing | None, parcel: Parcel, targets: bytes) -> None:
    if before is None:
        return
    if before.product != parcel.product:
        raise ConfigError(f"{folder} offers {before.product}, not {parcel.product}")
    offered = (folder / "metadata" / f"{before.counter}.targets.json").read_bytes()
    if parcel.counter < before.counter or (parcel.counter == before.counter and targets != offered):
        raise ConfigError(
            f"{folder} offers {before.counter} already: {parcel.counter} is not newer",
            hint="package it with a higher counter: devices refuse to go back",
        )


def _roots(folder: Path) -> list[Path]:
    """Its root metadata, the newest last."""
    return sorted((folder / "metadata").glob("*.root.json"), key=lambda file: int(file.name.split(".")[0]))


def _newest_root(parcel: Parcel) -> Metadata[Root]:
    from tuf.api.metadata import Root

    versions = [int(name.split(".")[0]) for name in parcel.metadata if name.endswith(".root.json")]
    name = f"{max(versions)}.root.json"
    return parse(name, parcel.metadata[name].encode(), Root)


def _load(folder: Path, name: str, kind: type[T]) -> Metadata[T]:
    return parse(str(folder / "metadata" / name), (folder / "metadata" / name).read_bytes(), kind)


def _store(parcel: Parcel, place: Place, file: Path) -> None:
    """A file of the package, unless it is there; readers never see half of it."""
    if file.is_file() and file_digest(file) == place.sha256:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(file) as stream:
        for chunk in parcel.chunks(place.sha256, 0):
            stream.write(chunk)


def _next_snapshot(folder: Path) -> int:
    """One more than any that was ever written, an unfinished one included."""
    there = [int(file.name.split(".")[0]) for file in (folder / "metadata").glob("*.snapshot.json")]
    return max(there, default=0) + 1


def _required(folder: Path) -> Standing:
    found = standing(folder)
    if found is None:
        raise ConfigError(f"{folder} offers nothing yet", hint="edgeopt repository publish REPO PKG --key K")
    return found


def _hashed(place: Place) -> str:
    before, slash, name = place.path.rpartition("/")
    return f"{before}{slash}{place.sha256}.{name}"


def _in_days(days: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
