"""`edgeopt doctor`: what this machine has, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt import __version__
from edgeopt.cli import flags
from edgeopt.cli.answer import Answer

if TYPE_CHECKING:
    from rich.console import RenderableType

EPILOG = flags.examples("edgeopt doctor", "edgeopt doctor --json")

PACKAGES = (
    "onnx", "onnx-ir", "onnxscript", "onnxruntime", "optuna", "torch", "stable-baselines3", "sb3-contrib",
    "paramiko", "numpy",
)  # fmt: skip

TOOLS = {
    "ssh": ("reach boards by hand, and through ProxyCommand", "apt install openssh-client"),
    "ssh-agent": ("keys with a passphrase", "apt install openssh-client"),
}


def doctor(as_json: flags.Json = False) -> Answer:
    """Show versions, tools and profiles, and name what is missing with the line that installs it."""
    from edgeopt.boards import profiles
    from edgeopt.boards.virtual import tools as emulation

    problems: list[str] = []
    packages = {name: _version(name) for name in PACKAGES}
    problems += [f"{name} is not installed: pip install {name}" for name, v in packages.items() if v is None]
    tools = {name: shutil.which(name) for name in TOOLS}
    remarks = [f"{n} not found ({TOOLS[n][0]}): {TOOLS[n][1]}" for n, path in tools.items() if path is None]
    lacking = emulation.missing()
    if lacking:
        needed = " ".join(dict.fromkeys(item.package for item in lacking))
        commands = ", ".join(item.command for item in lacking)
        remarks.append(f"{commands} not found (virtual boards): sudo apt-get install {needed}")
    document = {
        "edgeopt": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "governor": _governor(),
        "home": str(Path(os.environ.get("EDGEOPT_HOME") or "~/.config/edgeopt").expanduser()),
        "packages": packages,
        "tools": tools,
        "virtual_boards": not lacking,
        "devices": list(profiles.names()),
        "remarks": remarks,
        "problems": problems,
    }
    return Answer(document, lambda: _show(document), exit_code=1 if problems else 0)


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _governor() -> str | None:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def _show(document: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from edgeopt.cli.tables import table

    plain = ("edgeopt", "python", "machine", "system", "cores", "governor", "home")
    rows = [(name, document[name]) for name in plain]
    rows += [(name, version or "missing") for name, version in document["packages"].items()]
    rows += [(name, path or "missing") for name, path in document["tools"].items()]
    rows.append(("virtual boards", "yes" if document["virtual_boards"] else "tools are missing"))
    rows.append(("devices", ", ".join(document["devices"])))
    notes = [Text(f"problem: {line}", style="red") for line in document["problems"]]
    notes += [Text(f"remark: {line}", style="yellow") for line in document["remarks"]]
    return Group(table(("what", "found"), rows), *(notes or [Text("all in order", style="green")]))
