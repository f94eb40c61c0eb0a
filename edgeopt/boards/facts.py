"""Who a board is, from the on-board runner's greeting, and whether it is what a profile describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeopt.boards import probes
from edgeopt.boards.board import BoardFacts
from edgeopt.core.errors import BoardError
from edgeopt.core.profile import DeviceProfile

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def facts(hello: Mapping[str, Any]) -> BoardFacts:
    """Read the answer to `hello`."""
    files = {name: text or "" for name, text in hello["files"].items()}
    cpu = probes.cpuinfo(files["/proc/cpuinfo"])
    others = hello["other_runtimes"]
    runtimes = {
        "onnxruntime": hello["runtime"].get("onnxruntime"),
        "litert": others.get("ai-edge-litert"),
        "tflite-runtime": others.get("tflite-runtime"),
    }
    return BoardFacts(
        machine=hello["machine"],
        cores=hello["cores"],
        model=probes.line(files["/proc/device-tree/model"]) or cpu["model"],
        core_parts=tuple(cpu["parts"]),
        features=tuple(cpu["features"]),
        ram_bytes=probes.meminfo(files["/proc/meminfo"]),
        kernel=hello["kernel"],
        os=probes.os_release(files["/etc/os-release"]),
        python=hello["python"],
        userland_bits=hello["bits"],
        governor=probes.line(files["/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"]),
        runtimes={name: version for name, version in runtimes.items() if version},
    )


def is_this_machine(hello: Mapping[str, Any]) -> bool:
    """Whether the board shares this machine's kernel: loopback, or a container beside us."""
    try:
        own = Path(BOOT_ID).read_text(encoding="ascii").strip()
    except OSError:
        return False
    return bool(own) and (hello["files"].get(BOOT_ID) or "").strip() == own


def require_identity(profile: DeviceProfile, found: BoardFacts, name: str) -> None:
    """Check that a board is the kind of device that it is used as; `local` may be anything.

    Raises:
        BoardError: Another machine or core than the profile's, naming both.
    """
    machine, part = profile.get("cpu", "machine"), profile.get("cpu", "part")
    hint = "use the --device that it is, or --device local, which takes any machine"
    if machine is not None and found.machine != machine:
        raise BoardError(
            f"{name} is not a {profile.name}: its machine is {found.machine}, expected {machine}", hint
        )
    if part is not None and part not in found.core_parts:
        cores = ", ".join(sorted(set(found.core_parts))) or "unknown"
        raise BoardError(
            f"{name} is not a {profile.name}: its cores are {cores} ({found.model}), "
            f"expected {part} ({profile.get('cpu', 'core')})",
            hint,
        )
