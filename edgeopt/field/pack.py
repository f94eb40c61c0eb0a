"""From finished studies to one signed package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import Signer

from edgeopt.core.digest import file_digest
from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.field import archive, bom, evidence, manifest, npz, sign, ustar
from edgeopt.field.archive import Content
from edgeopt.field.evidence import Allowed
from edgeopt.field.manifest import Manifest, check_product
from edgeopt.field.trust import TIME_FORMAT, Trust
from edgeopt.field.variants import INPUTS, Built, Source, build

EXPIRY_DAYS = 365
"""How long a package may be installed, from the end of its studies."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a package is besides its models.

    Attributes:
        counter: None takes the time that the last study ended, as YYYYMMDDhhmmss.
        expires: None is a year after that.
        created: None is that time; $SOURCE_DATE_EPOCH, where it is set.
        wheels: Packages for boards without a network.
    """

    product: str
    counter: int | None = None
    expires: datetime | None = None
    created: datetime | None = None
    wheels: Sequence[Path] = ()
    allowed: Allowed = field(default_factory=Allowed)


@dataclass(frozen=True, slots=True)
class Packed:
    """A package that was written.

    Attributes:
        remarks: What its user should know, a sentence each.
    """

    path: Path
    manifest: Manifest
    expires: datetime
    sha256: str
    size_bytes: int
    signed_by: tuple[str, ...]
    remarks: tuple[str, ...]


def pack(
    sources: Sequence[Source],
    output: Path,
    release: Release,
    *,
    trust: Trust,
    signers: Iterable[Signer],
    now: datetime | None = None,
) -> Packed:
    """Write a package; the same studies, release, trust and keys give the same bytes.

    Args:
        sources: One for each variant; the golden inputs are those of the first.
        trust: Its whole chain of roots goes into the package.

    Raises:
        EvidenceError: A study does not support its result, and nothing allows that.
        StudyError, ModelError, PackageError: A folder is not complete, or variants do not fit together.
        ConfigError: A key may not sign, the expiry has passed, or a name cannot be one.
        EdgeoptError: The file cannot be written.
    """
    signers = list(signers)
    _check_names(sources, release)
    for source in sources:
        evidence.check(source.document, release.allowed)
    created = release.created or max(source.created for source in sources)
    expires = release.expires or created + timedelta(days=EXPIRY_DAYS)
    if expires <= (now or datetime.now(UTC)):
        raise ConfigError(
            f"the package would have expired at {expires.strftime(TIME_FORMAT)}",
            hint="--expires 90d, or a date",
        )
    counter = int(created.strftime("%Y%m%d%H%M%S")) if release.counter is None else release.counter
    samples = sources[0].samples()
    built = [build(source, samples) for source in sources]
    _check_interfaces(built)
    files: dict[str, Content] = {INPUTS: npz.to_bytes(samples)}
    for one in built:
        files |= one.files
    files[bom.NAME] = bom.bom(release.product, counter, created, [one.ingredients for one in built])
    wheels = {f"wheels/{path.name}": path for path in release.wheels}
    files |= wheels
    said = Manifest(
        product=release.product,
        counter=counter,
        created=created.strftime(TIME_FORMAT),
        variants=tuple(one.variant for one in _by_promise(built)),
        inputs=INPUTS,
        inputs_from=sources[0].deployment["golden"]["source"],
        interface=built[0].interface,
        accuracy=sources[0].document["accuracy"],
        evidence=(*(path for one in built for path in one.evidence), bom.NAME),
        wheels=tuple(sorted(wheels)),
    )
    files[manifest.NAME] = said.to_bytes()
    known = {one.variant.model: one.ingredients.sha256 for one in built}  # just compared with the file
    listed = sign.targets(
        {path: _measured(content, known.get(path)) for path, content in files.items()},
        product=release.product,
        counter=counter,
        expires=expires,
    )
    members: dict[str, Content] = {ustar.TARGETS_NAME: sign.signed(listed, trust, signers)}
    members |= {f"metadata/{version}.root.json": content for version, content in trust.chain.items()}
    digest = archive.write(output, members | files)
    return Packed(
        output, said, expires, digest, output.stat().st_size,
        tuple(signer.public_key.keyid for signer in signers), tuple(_remarks(sources)),
    )  # fmt: skip


def _measured(content: Content, known: str | None) -> tuple[int, str]:
    """Length and SHA-256, which may be known: hashing a large model takes longer than reading it."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    return content.stat().st_size, known or file_digest(content)


def _by_promise(built: Sequence[Built]) -> list[Built]:
    """The fastest first: a device takes the first that it can. Unknown figures come last."""

    def key(one: Built) -> tuple[bool, float, str]:
        latency = one.variant.promise.latency_ms
        return latency is None, latency.value if latency else 0.0, one.variant.name

    return sorted(built, key=key)


def _check_names(sources: Sequence[Source], release: Release) -> None:
    check_product(release.product)
    for source in sources:
        check_product(source.name)
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two variants are called {twice[0]}", hint="name them: DIR=NAME")
    for wheel in release.wheels:
        if not wheel.is_file() or wheel.suffix != ".whl":
            raise ConfigError(f"not a wheel: {wheel}", hint="pip download --platform … has them")


def _check_interfaces(built: Sequence[Built]) -> None:
    first = built[0]
    for one in built[1:]:
        if one.interface != first.interface:
            raise ModelError(
                f"variants {first.variant.name} and {one.variant.name} have other inputs or outputs",
                hint="an application must not have to know which it got: package them by themselves",
            )


def _remarks(sources: Sequence[Source]) -> list[str]:
    found = []
    for source in sources:
        prefix = f"{source.name}: " if len(sources) > 1 else ""
        found += [prefix + remark for remark in evidence.remarks(source.document)]
        if source.deployment["golden"]["source"] == "random" and source is sources[0]:
            found.append("its golden inputs are random: the study had no data")
    return found


def document(packed: Packed) -> Mapping[str, object]:
    """The JSON answer of `edgeopt package`."""
    said = packed.manifest
    return {
        "package": str(packed.path.absolute()),
        "sha256": packed.sha256,
        "size_bytes": packed.size_bytes,
        "product": said.product,
        "counter": said.counter,
        "created": said.created,
        "expires": packed.expires.strftime(TIME_FORMAT),
        "variants": [asdict(variant) for variant in said.variants],
        "signed_by": list(packed.signed_by),
        "remarks": list(packed.remarks),
    }
