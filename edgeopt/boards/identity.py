"""Whether a board is the kind of device that a profile describes, and what differs if it is not."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeopt.boards import profiles
from edgeopt.boards.board import BoardFacts
from edgeopt.core.errors import BoardError, ConfigError
from edgeopt.core.profile import DeviceProfile

VIRTUAL_MACHINE = "linux,dummy-virt"
"""In the device tree of QEMU's `virt`, so of every virtual board: those have the RAM that they were given."""

LEAST_RAM = 0.6
"""Share of a variant's RAM that the kernel shows at least: firmware and GPU keep the rest. A Zero 2 W shows
0.81 of its 512 MiB; the next smaller variant is half of a variant, or less."""

UNKNOWN_MODEL = "unknown (no device tree: a container hides it)"
STATE_IT = (
    "run the container with --security-opt systempaths=unconfined, or, if you know that it is one, say "
    'model = "…" in [board.NAME] of boards.toml, or ?model=… in its address; all else is still compared'
)

IMAGE = "install the 64-bit image of its system: onnxruntime has no wheels for 32-bit Arm"


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact in which a board is not what its profile says."""

    fact: str
    found: str
    expected: str

    def __str__(self) -> str:
        verb = "are" if self.fact.endswith("s") else "is"
        return f"its {self.fact} {verb} {self.found}, expected {self.expected}"


def differences(profile: DeviceProfile, found: BoardFacts) -> list[Difference]:
    """All that speaks against a board being such a device; empty for `local`, which may be anything.

    Fewer cores are allowed, for some may be offline; less memory, down to `LEAST_RAM` of a variant.
    """
    checks = (_userland, _machine, _model, _parts, _cores, _features, _ram)
    return [difference for check in checks if (difference := check(profile, found))]


def require_identity(profile: DeviceProfile, found: BoardFacts, name: str) -> None:
    """Check that a board is the kind of device that it is used as.

    Raises:
        BoardError: It is not: each fact that differs, with what was found and what the profile expects.
    """
    differing = differences(profile, found)
    if not differing:
        return
    what = "; ".join(map(str, differing))
    if any(difference.fact == "userland" for difference in differing):
        raise BoardError(f"{name} cannot be used as a {profile.name}: {what}", IMAGE)
    if [(difference.fact, difference.found) for difference in differing] == [("model", UNKNOWN_MODEL)]:
        raise BoardError(f"{name} cannot be told to be a {profile.name}: {what}", STATE_IT)
    alike = [other for other in accepting(found) if other != "local"]
    use = f"use --device {alike[0]}" if alike else "use the --device that it is"
    raise BoardError(
        f"{name} is not a {profile.name}: {what}", f"{use}, or --device local, which takes any machine"
    )


def accepting(found: BoardFacts) -> list[str]:
    """The devices that a board can be used as, sorted; a profile that is malformed accepts nothing."""
    names = []
    for name in profiles.names():
        try:
            if not differences(profiles.load(name), found):
                names.append(name)
        except ConfigError:
            continue
    return names


def _userland(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    """A 64-bit kernel carries a 32-bit userland without saying so: `uname -m` is aarch64."""
    if found.userland_bits == 32 and str(profile.get("cpu", "machine") or "").endswith("64"):
        return Difference("userland", f"32-bit (the kernel is {found.machine})", "64-bit")
    return None


def _machine(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    expected = profile.get("cpu", "machine")
    if expected is None or found.machine == expected:
        return None
    return Difference("machine", found.machine, expected)


def _model(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    models = profile.get("identity", "models") or []
    compatible = profile.get("identity", "compatible") or []
    if not models and not compatible:
        return None
    if set(compatible) & set(found.compatible) or any(_fits(found.model, pattern) for pattern in models):
        return None
    if VIRTUAL_MACHINE in found.compatible and found.model == profile.title:
        return None
    return Difference("model", found.model or UNKNOWN_MODEL, one_of([*models, *compatible]))


def _parts(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    """Every kind of core that was found is expected, and the profile's main kind is among them."""
    part = profile.get("cpu", "part")
    if part is None:
        return None
    expected = profile.get("identity", "parts") or [part]
    if part in found.core_parts and set(found.core_parts) <= set(expected):
        return None
    core = profile.get("cpu", "core")
    described = f"{part} ({core})" if expected == [part] and core else " and ".join(expected)
    return Difference("cores", ", ".join(sorted(set(found.core_parts))) or "unknown", described)


def _cores(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    """More than the device has; fewer may be offline."""
    expected = expected_cores(profile)
    if expected is None or len(found.core_parts) <= expected:
        return None
    return Difference("core count", str(len(found.core_parts)), str(expected))


def expected_cores(profile: DeviceProfile) -> int | None:
    """How many cores of all kinds the device has."""
    cores = profile.get("identity", "cores") or profile.get("cpu", "cores")
    return None if cores is None else int(cores)


def _features(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    missing = sorted(set(profile.get("cpu", "features") or []) - set(found.features))
    if not missing or not found.features:
        return None
    return Difference("ISA flags", f"without {', '.join(missing)}", "with")


def _ram(profile: DeviceProfile, found: BoardFacts) -> Difference | None:
    known: Any = profile.get("memory", "ram_bytes")
    if known is None or found.ram_bytes is None or VIRTUAL_MACHINE in found.compatible:
        return None
    variants = known if isinstance(known, list) else [known]
    if any(LEAST_RAM * variant <= found.ram_bytes <= variant for variant in variants):
        return None
    return Difference(
        "memory", f"{found.ram_bytes / 2**30:.2f} GiB", one_of([f"{v / 2**30:g}" for v in variants]) + " GiB"
    )


def _fits(model: str | None, pattern: str) -> bool:
    """`*` and `?` are wild, brackets are not; case does not matter."""
    return model is not None and fnmatch.fnmatchcase(model.lower(), pattern.lower().replace("[", "[[]"))


def one_of(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
