"""Options of the commands that sign, and times as they are typed there."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeopt.cli import flags
from edgeopt.core.errors import ConfigError

if TYPE_CHECKING:
    from edgeopt.field.keys import Signer

TRUST = "Trust"

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", metavar="FILE", rich_help_panel=TRUST,
        help="Passphrase of the key files; else $EDGEOPT_KEY_PASSPHRASE, else they are not encrypted.",
    ),
]  # fmt: skip
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="90d|DATE", help="How long it may be installed.", rich_help_panel=TRUST
    ),
]
Json = flags.Json


def passphrase(file: Path | None) -> str | None:
    """The first line of a file.

    Raises:
        ConfigError: It cannot be read, or is empty.
    """
    if file is None:
        return None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the passphrase: {error}") from error
    if not lines or not lines[0]:
        raise ConfigError(f"{file} holds no passphrase")
    return lines[0]


def signers(references: list[str] | None, secret: str | None) -> list[Signer]:
    """What each `--key` names.

    Raises:
        ConfigError: It is no key.
    """
    from edgeopt.field import keys

    return [keys.load(reference, secret) for reference in references or ()]


def expiry(text: str | None, start: datetime) -> datetime | None:
    """When something ends: so many days after `start`, or a date (UTC).

    Raises:
        ConfigError: It is neither.
    """
    if text is None:
        return None
    if days := re.fullmatch(r"([1-9][0-9]{0,4})d", text):
        return (start + timedelta(days=int(days[1]))).replace(microsecond=0)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--expires {text!r} is not a time", hint="write 90d or 2027-06-30") from None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
