"""The rivals' own environment, and the packages with models and data: made once, in the user's cache."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.rivals.layout import Layout

HERE = Path(__file__).parent
SPEECH = "pocketsphinx-testdata"
"""Debian's package of recorded speech."""


def make(layout: Layout) -> None:
    """Make what is missing.

    Raises:
        subprocess.CalledProcessError: An index cannot be reached, or has not got a package.
    """
    if not layout.python.is_file():
        print(f"making the rivals' environment in {layout.root / 'venv'}; this takes minutes", flush=True)
        _run(sys.executable, "-m", "venv", str(layout.root / "venv"))
        _run(str(layout.python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt"))
    stamp = layout.packages / "complete"
    if not stamp.is_file():
        _unpack(layout)
        stamp.touch()


def versions(layout: Layout) -> dict[str, str]:
    """Of the rivals, as installed."""
    listed = subprocess.run(
        [str(layout.python), "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    ).stdout
    wanted = {line.split("==")[0] for line in _lines(HERE / "requirements.txt") if "==" in line}
    pairs = dict(line.split("==") for line in listed.splitlines() if line.count("==") == 1)
    return {name: pairs[name] for name in sorted(wanted & pairs.keys())}


def _unpack(layout: Layout) -> None:
    wheels = layout.root / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    _run(
        sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels),
        *_lines(HERE / "packages.txt"),
    )  # fmt: skip
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(layout.packages)
    subprocess.run(["apt-get", "download", "-q", SPEECH], cwd=wheels, check=True)
    (package,) = wheels.glob(f"{SPEECH}*.deb")
    _run("dpkg-deb", "-x", str(package), str(layout.packages / "pocketsphinx"))


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
