"""`edgeopt verify`: whether a package is genuine, and if not, what exactly is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeopt.cli import flags, signing
from edgeopt.cli.answer import Answer

EPILOG = flags.examples(
    "edgeopt verify model.edgepkg --trust keys",
    "edgeopt verify model.edgepkg --trust keys/root.pub.json --product doorbell --above 12 --json",
)


def verify(
    package: Annotated[
        Path, typer.Argument(metavar="PKG", help="An .edgepkg file.", show_default=False)
    ],
    trust: Annotated[
        Path,
        typer.Option(
            "--trust", metavar="DIR|FILE", show_default=False, rich_help_panel=signing.TRUST,
            help="The folder of edgeopt keys new, or the root.pub.json of it.",
        ),
    ],
    product: Annotated[
        str | None, typer.Option("--product", metavar="NAME", help="Refuse other products.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Refuse a package that holds nothing for this device."),
    ] = None,
    above: Annotated[
        int | None,
        typer.Option("--above", metavar="N", help="Refuse a counter that is not above that installed."),
    ] = None,
    as_json: flags.Json = False,
) -> Answer:  # fmt: skip
    """Check a package without unpacking it: form, roots, signatures, age, and every byte of every file.

    Exit 6 says exactly what failed. Time is the later of this machine's clock and of what the roots prove.
    """
    from edgeopt.field.trust import TIME_FORMAT, Trust
    from edgeopt.field.verify import Expected
    from edgeopt.field.verify import verify as run

    def told(check: str, found: str) -> None:
        if not as_json:
            typer.echo(f"ok  {check}: {found}", err=True)

    wanted = Expected(product, device, above) if (product, device, above) != (None, None, None) else None
    verified = run(package, Trust.open(trust), expected=wanted, told=told)
    document = {
        "package": str(package.absolute()),
        "genuine": True,
        "product": verified.product,
        "counter": verified.counter,
        "expires": verified.expires.strftime(TIME_FORMAT),
        "root_version": verified.trust.root.version,
        "variants": [variant.name for variant in verified.manifest.variants],
        "checks": [{"check": check, "found": found} for check, found in verified.checks],
    }
    return Answer(document, lambda: f"{package} is genuine: {verified.product} {verified.counter}")
