"""Asks the package index which runtime has wheels for which board, and prints `edgeopt/runtimes/wheels.toml`.

`python benchmarks/runtime_wheels.py > edgeopt/runtimes/wheels.toml`: one question to pip for each runtime,
machine and Python; nothing is downloaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

PACKAGES = ("onnxruntime<1.29", "ai-edge-litert", "tflite-runtime")
MACHINES = ("aarch64", "armv7l")
GLIBCS = ("2014", "_2_27", "_2_28", "_2_34")
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def newest(requirement: str, machine: str, python: str) -> str | None:
    """The version that pip would install there; None if there is no wheel."""
    tags = [argument for glibc in GLIBCS for argument in ("--platform", f"manylinux{glibc}_{machine}")]
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--only-binary=:all:", "--quiet",
        "--target", "/nonexistent", "--report", "-", "--python-version", python, "--implementation", "cp",
        *tags, requirement,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No matching distribution" not in done.stderr:
            raise SystemExit(done.stderr)
        return None
    return str(json.loads(done.stdout)["install"][0]["metadata"]["version"])


def main() -> None:
    """Print the table."""
    print("# The newest wheel of each runtime, by the board's `uname -m` and its Python; others have none.")
    print(f"# Asked of PyPI on {datetime.now(UTC).date()} by benchmarks/runtime_wheels.py.")
    for machine in MACHINES:
        for python in PYTHONS:
            print(f'\n[{machine}."{python}"]')
            for requirement in PACKAGES:
                if version := newest(requirement, machine, python):
                    print(f'{requirement.partition("<")[0]} = "{version}"')


if __name__ == "__main__":
    main()
