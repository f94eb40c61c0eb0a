"""Who a board is, from the on-board runner's greeting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeopt.boards import probes
from edgeopt.boards.board import BoardFacts

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def facts(hello: Mapping[str, Any]) -> BoardFacts:
    """Read the answer to `hello`."""
    files = defaultdict(str, {name: text or "" for name, text in hello["files"].items()})
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
        compatible=probes.strings(files["/proc/device-tree/compatible"]),
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
