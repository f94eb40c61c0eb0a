"""`edgeopt keys`: keys that sign packages, and the root that says which of them to trust."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgeopt.cli import flags, signing
from edgeopt.cli.answer import Answer
from edgeopt.core.errors import ConfigError

if TYPE_CHECKING:
    from edgeopt.field.keyring import Keyring
    from edgeopt.field.keys import Key

app = typer.Typer(
    help="Keys that sign packages, and the root that devices trust.",
    epilog=flags.examples(
        "edgeopt keys new keys",
        "edgeopt keys new keys --role root=2/3 --role targets=1/2 --role timestamp",
        "edgeopt keys rotate keys --role targets",
    ),
)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of edgeopt keys new.", show_default=False)
]
AlgorithmName = Annotated[
    Literal["ed25519", "ecdsa"],
    typer.Option(
        "--algorithm", help="Of new keys: Ed25519, or ECDSA on P-256.", rich_help_panel=signing.TRUST
    ),
]
Public = Annotated[
    list[str] | None,
    typer.Option(
        "--public", metavar="ROLE=FILE|pkcs11:…", rich_help_panel=signing.TRUST,
        help="Public key (PEM, or of a token) that somebody else holds, in place of a new one. Repeat.",
    ),
]  # fmt: skip
Elsewhere = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="FILE|pkcs11:…", rich_help_panel=signing.TRUST,
        help="Root key that is kept elsewhere. Repeat for others.",
    ),
]  # fmt: skip


@app.command(
    epilog=flags.examples(
        "edgeopt keys new keys",
        "edgeopt keys new keys --role root=2/3 --role targets=1/2 --role timestamp",
        'edgeopt keys new keys --role targets --public "targets=pkcs11:token=release;id=%02"',
    )
)
def new(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="ROLE[=2/3]", rich_help_panel=signing.TRUST,
            help="Give a role (root, targets, snapshot, timestamp) keys of its own: how many of how many "
            "sign. Left out: one key for everything.",
        ),
    ] = None,
    algorithm: AlgorithmName = "ed25519",
    public: Public = None,
    key: Elsewhere = None,
    expires: signing.Expires = None,
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Make keys, and the root that devices trust: DIR/root.pub.json, and private *.key files beside it.

    With [cyan]--role[/cyan] each role has its own keys, so that those of the root can be taken offline.
    """
    from edgeopt.field.founding import create
    from edgeopt.field.roots import RoleSpec

    secret = signing.passphrase(passphrase_file) or _environment()
    specs = [RoleSpec.parse(text) for text in role or ()]
    if twice := sorted({s.role for s in specs if sum(s.role == o.role for o in specs) > 1}):
        raise ConfigError(f"--role {twice[0]} was given twice")
    keyring = create(
        folder, specs, algorithm, passphrase=secret, public=_public(public),
        more=signing.signers(key, secret), expires=signing.expiry(expires, datetime.now(UTC)),
    )  # fmt: skip
    kept = "" if secret else "\nThe key files are not encrypted: --passphrase-file FILE does it."
    done = f"wrote {folder.absolute()}: root.pub.json is for devices, *.key are for nobody"
    return _answer(keyring, done + kept)


@app.command(epilog=flags.examples("edgeopt keys rotate keys", "edgeopt keys rotate keys --role targets"))
def rotate(
    folder: Folder,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="ROLE", rich_help_panel=signing.TRUST,
            help="Only the keys of this role. Repeat for others.",
        ),
    ] = None,
    algorithm: AlgorithmName = "ed25519",
    public: Public = None,
    key: Elsewhere = None,
    expires: signing.Expires = None,
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Replace keys by new ones, in a root that the old and the new root keys sign.

    Devices find their way from the root that they know: every package brings the whole chain. The old key
    files go to DIR/retired.
    """
    from edgeopt.field.keyring import Keyring
    from edgeopt.field.roots import ROLES

    for name in role or ():
        if name not in ROLES:
            raise ConfigError(f"unknown role {name!r}", hint=f"one of {', '.join(ROLES)}")
    secret = signing.passphrase(passphrase_file) or _environment()
    keyring = Keyring.open(folder, secret)
    version = keyring.rotate(
        role or ROLES, algorithm, more=signing.signers(key, secret), public=_public(public),
        expires=signing.expiry(expires, datetime.now(UTC)),
    )  # fmt: skip
    return _answer(
        Keyring.open(folder, secret), f"root version {version}: package with it, and devices follow"
    )


@app.command(epilog=flags.examples("edgeopt keys revoke keys 1f2e3d4c", "edgeopt keys revoke keys targets-1"))
def revoke(
    folder: Folder,
    which: Annotated[
        str,
        typer.Argument(metavar="KEY", help="Its id, the beginning of that, or its name.", show_default=False),
    ],
    key: Elsewhere = None,
    expires: signing.Expires = None,
    passphrase_file: signing.PassphraseFile = None,
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Take a key out of every role: devices that saw the new root refuse whatever it signs.

    Where a role would have fewer keys than it needs, [cyan]rotate[/cyan] puts new ones in their place.
    """
    from edgeopt.field.keyring import Keyring

    secret = signing.passphrase(passphrase_file) or _environment()
    keyring = Keyring.open(folder, secret)
    version = keyring.revoke(
        which, more=signing.signers(key, secret), expires=signing.expiry(expires, datetime.now(UTC))
    )
    done = f"root version {version}: a device refuses the key once it has seen a package with this root"
    return _answer(Keyring.open(folder, secret), done)


@app.command("list", epilog=flags.examples("edgeopt keys list keys"))
def list_(folder: Folder, as_json: flags.Json = False) -> Answer:
    """Show roles, thresholds and keys, those that were revoked too."""
    from edgeopt.field.keyring import Keyring

    return _answer(Keyring.open(folder), None)


def _answer(keyring: Keyring, done: str | None) -> Answer:
    from edgeopt.field.keyring import shown

    document = keyring.listing()
    return Answer(document, lambda: "\n".join([*([done] if done else []), *shown(document)]))


def _environment() -> str | None:
    import os

    from edgeopt.field.keys import PASSPHRASE

    return os.environ.get(PASSPHRASE) or None


def _public(given: list[str] | None) -> dict[str, list[Key]]:
    from edgeopt.field import keys
    from edgeopt.field.roots import ROLES

    found: dict[str, list[Key]] = {}
    for text in given or ():
        role, separator, reference = text.partition("=")
        if not separator or role not in ROLES:
            raise ConfigError(
                f"--public {text!r} is not understood", hint="targets=FILE.pem, or root=pkcs11:…"
            )
        found.setdefault(role, []).append(keys.load_public(reference))
    return found
