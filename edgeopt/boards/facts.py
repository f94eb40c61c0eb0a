"""Who a board is, from the on-board runner's greeting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeopt.boards.board import BoardFacts
from edgeopt.boards.probes import PROBES, WHO

BOOT_ID = "/proc/sys/kernel/random/boot_id"

FILES = {
    "cpuinfo": "/proc/cpuinfo",
    "device_model": "/proc/device-tree/model",
    "compatible": "/proc/device-tree/compatible",
    "ram_bytes": "/proc/meminfo",
    "os_release": "/etc/os-release",
}
"""The files that the greeting carries, by the probe that prints them."""


def facts(hello: Mapping[str, Any], model: str | None = None) -> BoardFacts:
    """Read the answer to `hello`; see `stated` for `model`."""
    printed = {name: hello["files"].get(path) or "" for name, path in FILES.items()} | hello["said"]
    found = {name: PROBES[name].parse(printed.get(name, "")) for name in (*WHO, "governor")}
    others = hello["other_runtimes"]
    runtimes = {
        "onnxruntime": hello["runtime"].get("onnxruntime"),
        "litert": others.get("ai-edge-litert"),
        "tflite-runtime": others.get("tflite-runtime"),
    }
    found |= {
        "machine": hello["machine"],
        "cores": hello["cores"],
        "kernel": hello["kernel"],
        "userland_bits": hello["bits"],
    }
    return probed(
        stated(found, model),
        hello["python"],
        {name: version for name, version in runtimes.items() if version},
    )


def stated(found: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    """The answers with the model that the user says it is, where the board tells none itself.

    A container hides the device tree. What the board does tell is believed, whoever says otherwise.
    """
    told = found["device_model"] or found["compatible"] or found["cpuinfo"]["model"]
    return found if model is None or told else {**found, "device_model": model}


def probed(
    found: Mapping[str, Any], python: str | None = None, runtimes: Mapping[str, str] | None = None
) -> BoardFacts:
    """Facts from the answers to `boards.probes`, which know nothing of Python.

    Args:
        found: By the name of the probe: all of `WHO`, and the governor.
        python: Version of the Python that runs the models.
        runtimes: Those that it can import, with their versions.
    """
    return BoardFacts(
        machine=found["machine"] or "unknown",
        cores=found["cores"] or 1,
        model=found["device_model"] or found["cpuinfo"]["model"],
        compatible=tuple(found["compatible"]),
        core_parts=tuple(found["cpuinfo"]["parts"]),
        features=tuple(found["cpuinfo"]["features"]),
        ram_bytes=found["ram_bytes"],
        kernel=found["kernel"],
        kernel_build=found["kernel_build"],
        firmware=found["firmware"],
        os=found["os_release"],
        python=python,
        userland_bits=found["userland_bits"],
        governor=found["governor"],
        clock_limits_khz=found["clock_limits_khz"],
        runtimes=runtimes or {},
    )


def is_this_machine(hello: Mapping[str, Any]) -> bool:
    """Whether the board shares this machine's kernel: loopback, or a container beside us."""
    try:
        own = Path(BOOT_ID).read_text(encoding="ascii").strip()
    except OSError:
        return False
    return bool(own) and (hello["files"].get(BOOT_ID) or "").strip() == own
