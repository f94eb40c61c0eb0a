"""A package in the wrapping of an update system that a fleet already runs: Mender, or RAUC.

The device's part of edgeopt comes with it and does what it always does: verify, self-test, switch, watch.
The wrapping's own signature comes on top; the trust root is on the device already (`edgeopt_field.py trust`).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.errors import ConfigError, EdgeoptError
from edgeopt.core.files import written_atomically
from edgeopt.core.scratch import scratch
from edgeopt.field.device import AGENT
from edgeopt.field.parcel import Parcel
from edgeopt.resources import resource

MODULE = "edgeopt"
"""Type of the Mender payload, and class of the RAUC slot."""
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What the other update system wants to know.

    Attributes:
        device_types: Kinds of devices that may take it, by its own names; RAUC takes one (`compatible`).
        key: Private key that signs the wrapping.
        cert: Certificate of that key; RAUC needs it.
    """

    device_types: Sequence[str]
    key: Path | None = None
    cert: Path | None = None


def wrap(package: Path, kind: str, output: Path, wrapping: Wrapping) -> None:
    """Write the wrapped package to `output`, wholly or not at all.

    Raises:
        ConfigError: An unknown kind, or something that it needs is not given.
        PackageError: It is not a package.
        EdgeoptError: The tool is not installed, or fails; or `output` cannot be written.
    """
    known: dict[str, Callable[[Parcel, Path, Path, Wrapping], None]] = {"mender": _mender, "rauc": _rauc}
    if kind not in known:
        raise ConfigError(f"unknown format {kind!r}", hint=f"known: {', '.join(known)}")
    if not wrapping.device_types:
        raise ConfigError(
            f"--format {kind} needs the kinds of devices that may take it", hint="--device-type"
        )
    parcel = Parcel.open(package)
    with scratch() as folder:
        made = folder / "made"
        known[kind](parcel, folder, made, wrapping)
        with made.open("rb") as source, written_atomically(output) as target:
            shutil.copyfileobj(source, target)


def _mender(parcel: Parcel, folder: Path, made: Path, wrapping: Wrapping) -> None:
    """An artifact of format 3 whose payload is for the update module `edgeopt`."""
    tool = _tool("mender-artifact", "mender-artifact")
    package = folder / _file_name(parcel)
    package.symlink_to(parcel.file.resolve())
    types = [word for name in wrapping.device_types for word in ("--device-type", name)]
    _run(
        tool, "write", "module-image", "--type", MODULE, *types,
        "--artifact-name", f"{parcel.product}-{parcel.counter}",
        "--software-name", parcel.product, "--software-version", str(parcel.counter),
        "--file", str(package), "--file", str(resource(AGENT)), "--output-path", str(made),
        *(["--key", str(wrapping.key)] if wrapping.key else []),
    )  # fmt: skip


def _rauc(parcel: Parcel, folder: Path, made: Path, wrapping: Wrapping) -> None:
    """A bundle with one image, which the bundle's own hook installs.

    Raises:
        ConfigError: Without key and certificate, or with several kinds of devices.
    """
    if wrapping.key is None or wrapping.cert is None:
        raise ConfigError("--format rauc signs the bundle", hint="--wrap-key FILE --wrap-cert FILE")
    if len(wrapping.device_types) != 1:
        raise ConfigError("a RAUC bundle is for one kind of device", hint="--device-type, once")
    tool = _tool("rauc", "rauc squashfs-tools")
    content = folder / "content"
    content.mkdir()
    shutil.copyfile(parcel.file, content / _file_name(parcel))
    shutil.copyfile(resource(AGENT), content / Path(AGENT).name)
    hook = content / "hook.sh"
    shutil.copyfile(resource("firmware_scripts/wrap/rauc-hook.sh"), hook)
    hook.chmod(0o755)
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={wrapping.device_types[0]}\nversion={parcel.counter}\n"
        f"description={parcel.product}\n\n[bundle]\nformat=verity\n\n[hooks]\nfilename={hook.name}\n\n"
        f"[image.{MODULE}]\nfilename={_file_name(parcel)}\nhooks=install\n",
        encoding="utf-8",
    )
    _run(tool, "bundle", f"--cert={wrapping.cert}", f"--key={wrapping.key}", str(content), str(made))


def _file_name(parcel: Parcel) -> str:
    return f"{parcel.product}-{parcel.counter}.edgepkg"


def _tool(name: str, packages: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EdgeoptError(f"{name} is not installed", hint=f"apt-get install {packages}")
    return found


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EdgeoptError(f"{Path(command[0]).name} takes longer than {LIMIT_S:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise EdgeoptError(f"{Path(command[0]).name} fails: {last}")
