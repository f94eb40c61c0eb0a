"""The counting plugin, compiled on first use for the emulator that is installed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
from pathlib import Path

from edgeopt.boards import places
from edgeopt.boards.virtual import tools
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import BoardError
from edgeopt.core.files import cannot_write

SOURCE = Path(__file__).with_name("counting.c")
EMULATOR, COMPILER = "qemu-system-aarch64", "gcc"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden")
API = 1
"""Of QEMU's plugins, as `counting.c` declares it."""

OLDEST, NEWER = (6, 0), (9, 0)
"""Releases of QEMU that load plugins of that API: from the first on, before the second.

Source: QEMU_PLUGIN_VERSION and QEMU_PLUGIN_MIN_VERSION in include/qemu/qemu-plugin.h of the releases.
"""


def plugin() -> Path:
    """The compiled plugin. Several may ask at once: each makes it, and the last one's is as good.

    Raises:
        BoardError: The emulator or the compiler is missing, or the emulator wants another plugin API.
        EdgeoptError: No room, or no permission.
    """
    _require_api()
    key = value_digest(SOURCE.read_text(encoding="utf-8"), FLAGS, API)[:16]
    path = places.cache() / "virtual" / "plugin" / f"counting-{key}.so"
    if not path.is_file():
        _compile(path)
    return path


def emulator() -> str:
    """Which emulator is installed: how it cuts programs into blocks is part of what is counted.

    Raises:
        BoardError: It is missing.
    """
    lines = _output(EMULATOR, "--version").splitlines()
    return lines[0] if lines else ""


def _require_api() -> None:
    said = emulator()
    found = re.search(r"version (\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else None
    if version is None or not OLDEST <= version < NEWER:
        name = f"QEMU {version[0]}.{version[1]}" if version else f"{EMULATOR} ({said.strip()[:60]})"
        raise BoardError(
            f"{name} does not load plugins of API {API}, by which virtual boards count",
            hint="install a QEMU from 7.2 to 8.2, such as that of Debian 12 or Ubuntu 24.04",
        )


def _compile(path: Path) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _output(COMPILER, *FLAGS, "-o", str(part), str(SOURCE))
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _output(command: str, *arguments: str) -> str:
    program = tools.which(command)
    if not program:
        tools.require()  # names all that is missing, and the line that installs it
        raise BoardError(f"a virtual board needs {command}")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        worst = next((line for line in lines if "error" in line or "No space" in line), lines[-1])
        raise BoardError(f"{command} failed: {worst}")
    return done.stdout
