"""`edgeopt package`: finished studies become one signed file for devices."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeopt.cli import flags, signing
from edgeopt.cli.answer import Answer
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeopt.field.variants import Source

EPILOG = flags.examples(
    "edgeopt package edgeopt-out/model-rpi4 -o model.edgepkg --key keys/edgeopt.key",
    "edgeopt package edgeopt-out/model-rpi4 edgeopt-out/model-rpi5 -o model.edgepkg --key keys/edgeopt.key",
    "edgeopt package out --key keys/edgeopt.key --format mender --device-type raspberrypi4",
    'edgeopt package out -o model.edgepkg --trust keys --key "pkcs11:token=release;id=%02"',
)

CONTENT, EVIDENCE, WRAPPING = "Content", "Evidence", "For fleets that run another update system"
SUFFIX = ".edgepkg"
WRAPPED = {"mender": ".mender", "rauc": ".raucb"}
"""Format -> ending of its files."""
SOURCE_DATE_EPOCH = "SOURCE_DATE_EPOCH"


def package(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR[=NAME]…", show_default=False,
            help="Folders that edgeopt optimize wrote: one variant each, called like its device or NAME.",
        ),
    ],
    key: Annotated[
        list[str],
        typer.Option(
            "--key", metavar="FILE|pkcs11:…", rich_help_panel=signing.TRUST, show_default=False,
            help="Private key of role targets. Repeat where the role needs several.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[dim]\\[default: PRODUCT.edgepkg][/dim]"),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            "--trust", metavar="DIR", rich_help_panel=signing.TRUST,
            help="Folder of the roots that devices trust. [dim]\\[default: where the key is][/dim]",
        ),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option(
            "--product", metavar="NAME", rich_help_panel=CONTENT,
            help="Devices take releases of the product they have. [dim]\\[default: the model's name][/dim]",
        ),
    ] = None,
    counter: Annotated[
        int | None,
        typer.Option(
            "--counter", metavar="N", min=1, rich_help_panel=CONTENT,
            help="Devices refuse a lower one than they have had. [dim]\\[default: when the study ended, "
            "YYYYMMDDhhmmss][/dim]",
        ),
    ] = None,
    expires: signing.Expires = None,
    wheel: Annotated[
        list[Path] | None,
        typer.Option(
            "--wheel", metavar="FILE", rich_help_panel=CONTENT,
            help="Python package for boards without a network. Repeat for others.",
        ),
    ] = None,
    allow_emulated: Annotated[
        bool,
        typer.Option("--allow-emulated", help="Take unmeasured figures.", rich_help_panel=EVIDENCE),
    ] = False,
    allow_unestablished: Annotated[
        bool,
        typer.Option(
            "--allow-unestablished", rich_help_panel=EVIDENCE,
            help="Take a result whose accuracy the data could not establish.",
        ),
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="edgepkg|mender|rauc", rich_help_panel=WRAPPING,
            help="Wrap the package as an artifact of Mender or a bundle of RAUC.",
        ),
    ] = "edgepkg",
    device_type: Annotated[
        list[str] | None,
        typer.Option(
            "--device-type", metavar="NAME", rich_help_panel=WRAPPING,
            help="Kind of device that may take it, as that system calls it. Repeat for others.",
        ),
    ] = None,
    wrap_key: Annotated[
        Path | None,
        typer.Option("--wrap-key", metavar="FILE", rich_help_panel=WRAPPING, help="Signs the wrapping."),
    ] = None,
    wrap_cert: Annotated[
        Path | None,
        typer.Option("--wrap-cert", metavar="FILE", rich_help_panel=WRAPPING, help="Of that key, for RAUC."),
    ] = None,
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Make one signed file of a study's result: model, settings, golden outputs, promises and evidence.

    The same study, key and flags give the same bytes. What was not measured, or whose accuracy is not
    established, is refused (exit 3) unless a flag takes it.
    """
    from edgeopt.core.scratch import scratch
    from edgeopt.field.evidence import Allowed
    from edgeopt.field.pack import Release, document, pack
    from edgeopt.field.trust import Trust
    from edgeopt.field.wrap import Wrapping, wrap

    if form not in ("edgepkg", *WRAPPED):
        raise ConfigError(f"unknown format {form!r}", hint=f"known: edgepkg, {', '.join(WRAPPED)}")
    secret = signing.passphrase(passphrase_file)
    signers = signing.signers(key, secret)
    chain = Trust.open(trust or _beside(key[0]))
    sources = [_source(text) for text in folders]
    created = _source_date() or max(source.created for source in sources)
    name = product or _product(sources[0].document["model"])
    release = Release(
        product=name,
        counter=counter,
        expires=signing.expiry(expires, created),
        created=created,
        wheels=wheel or (),
        allowed=Allowed(allow_emulated, allow_unestablished),
    )
    if form == "edgepkg":
        packed = pack(sources, output or Path(f"{name}{SUFFIX}"), release, trust=chain, signers=signers)
        answer = dict(document(packed))
    else:
        wrapped = (output or Path(f"{name}{WRAPPED[form]}")).absolute()
        with scratch() as folder:
            packed = pack(sources, folder / f"{name}{SUFFIX}", release, trust=chain, signers=signers)
            wrap(packed.path, form, wrapped, Wrapping(device_type or (), wrap_key, wrap_cert))
        answer = dict(document(packed)) | {
            "package": str(wrapped), "sha256": file_digest(wrapped), "size_bytes": wrapped.stat().st_size
        }  # fmt: skip
    return Answer(answer, lambda: _shown(answer))


def _source(text: str) -> Source:
    from edgeopt.field.manifest import check_product
    from edgeopt.field.variants import Source
    from edgeopt.report.context import read_evidence

    path, separator, name = text.rpartition("=")
    if not separator or Path(text).is_dir():
        path, name = text, ""
    folder = Path(path)
    evidence = read_evidence(folder)
    return Source(
        name=check_product(name or Path(evidence.document["device"]).stem),
        folder=folder,
        document=evidence.document,
        created=datetime.fromisoformat(evidence.context.created).astimezone(UTC),
        versions=evidence.context.versions,
    )


def _product(model: str) -> str:
    """The model's name; that of its folder, where it is called `model` like so many."""
    path = Path(model)
    name = path.parent.name if path.stem in ("model", "best") and path.parent.name else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:40] or "model"


def _beside(key: str) -> Path:
    if key.startswith("pkcs11:"):
        raise ConfigError("a key on a token does not say which root devices trust", hint="--trust DIR")
    return Path(key).absolute().parent


def _source_date() -> datetime | None:
    """$SOURCE_DATE_EPOCH, by which whoever builds again says when the first build was."""
    text = os.environ.get(SOURCE_DATE_EPOCH)
    if not text:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{SOURCE_DATE_EPOCH} {text!r} is not a number of seconds") from None


def _shown(answer: Mapping[str, Any]) -> str:
    from edgeopt.report.figures import size

    lines = [f"note: {remark}" for remark in answer["remarks"]]
    lines.append(f"wrote {answer['package']} ({size(answer['size_bytes'])})")
    lines.append(f"  {answer['product']} {answer['counter']}, may be installed until {answer['expires']}")
    for variant in answer["variants"]:
        latency, needs = variant["promise"]["latency_ms"], variant["requires"]
        promised = "no latency promised" if latency is None else (
            f"{latency['value']:.3g} ms {latency['provenance']} ({variant['promise']['conditions']})"
        )  # fmt: skip
        machine = ", ".join(needs["machine"])
        lines.append(
            f"  {variant['name']}: {promised}; {needs['runtime']} {needs['runtime_range']} on {machine}"
        )
    return "\n".join(lines)
