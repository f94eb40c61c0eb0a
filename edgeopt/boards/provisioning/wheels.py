"""Runtimes for a board that reaches no package index: downloaded here for its Python, and sent."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards import places
from edgeopt.boards.transports import FOLDER, Transport
from edgeopt.core.digest import file_digest, value_digest
from edgeopt.core.errors import BoardError, CommandError

STAGED = f'"$HOME/{FOLDER}/wheels"'
"""Where the runtime step looks for them, under their names; they are the objects of the board's cache."""

DOWNLOAD_TIMEOUT_S = 900.0
ASK = (
    "import json, os, platform, sys; "
    'libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None; '
    "print(json.dumps([sys.version_info[:2], platform.machine(), sys.maxsize > 2**32, libc]))"
)


@dataclass(frozen=True, slots=True)
class Target:
    """The Python that wheels are for.

    Attributes:
        python: `3.11`.
        machine: `aarch64`.
        glibc: Minor number of its C library, 36 of 2.36.
    """

    python: str
    machine: str
    glibc: int

    def arguments(self) -> list[str]:
        """Options of `pip download`: every platform tag that this system can load, the newest first."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, 16, -1)]
        platforms = [part for tag in [*tags, f"manylinux2014_{self.machine}"] for part in ("--platform", tag)]
        return ["--implementation", "cp", "--python-version", self.python, *platforms]


def target(transport: Transport) -> Target:
    """Ask a board what its wheels must be made for.

    Raises:
        BoardError: It has no Python, 32 bits, or another C library than glibc.
    """
    said = transport.run(f"python3 -c '{ASK}'")
    if said.status:
        raise BoardError(
            "the board has no python3", hint="sudo apt-get install python3 python3-venv, on the board"
        )
    return read_target(said.stdout)


def read_target(text: str) -> Target:
    """The target that a board's Python described.

    Raises:
        BoardError: There are no wheels of the runtime for it.
    """
    version, machine, wide, libc = json.loads(text)
    found = re.fullmatch(r"glibc 2\.(\d+)", libc or "")
    if not wide:
        raise BoardError(
            f"the board's Python has 32 bits on {machine}: there is no onnxruntime for it",
            hint="install a 64-bit system",
        )
    if not found:
        raise BoardError("the board's system has no glibc: there are no wheels of onnxruntime for it")
    return Target(f"{version[0]}.{version[1]}", machine, int(found[1]))


def download(requirements: tuple[str, ...], wanted: Target) -> list[Path]:
    """Wheels of `requirements` and of all that they need, and pip's own; kept in the cache.

    Raises:
        BoardError: There are none, or the package index cannot be reached.
    """
    name = value_digest(requirements, wanted.python, wanted.machine, wanted.glibc)[:16]
    folder = places.cache() / "wheels" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))  # two may download at once
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
            "--only-binary=:all:", "--dest", str(part), *wanted.arguments(), *requirements, "pip",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=DOWNLOAD_TIMEOUT_S, check=False,
            )  # fmt: skip
            if done.returncode:
                raise BoardError(
                    f"cannot download {' '.join(requirements)} for Python {wanted.python} on "
                    f"{wanted.machine}: {_why(done.stderr)}",
                    hint="it needs the network here (pip's settings count), or --from-index the board's",
                )
            with contextlib.suppress(OSError):  # another was faster
                part.rename(folder)
        except subprocess.TimeoutExpired as error:
            raise BoardError("the package index takes longer than a quarter of an hour") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return sorted(folder.glob("*.whl"))


def send(transport: Transport, wheels: list[Path]) -> None:
    """Store wheels on a board, resuming broken transfers, where the runtime step finds them.

    Raises:
        CommandError: The board cannot store them.
    """
    links = [f"rm -rf {STAGED} && mkdir -p {STAGED}"]
    for wheel in wheels:
        sha256 = file_digest(wheel)
        transport.put(wheel, sha256)
        links.append(f'ln "$HOME/{FOLDER}/objects/{sha256}" {STAGED}/{wheel.name}')
    done = transport.run(" && ".join(links))
    if done.status:
        raise CommandError(f"cannot store wheels on the board: {_why(done.stderr)}")


def unstage(transport: Transport) -> None:
    """Take the wheels' names away again; the objects go with the board's cache."""
    transport.run(f"rm -rf {STAGED}")


def _why(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no reason given"])[-1].removeprefix("ERROR: ")[:200]
