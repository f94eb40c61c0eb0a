"""Which emulated times have a truth that they were compared with. What has none says so where it is shown."""

from __future__ import annotations

from edgeopt.core.artifact import Runtime
from edgeopt.core.profile import DeviceProfile

PRICED = "cycles"
"""Source of a figure that is priced from counted cycles."""


def source(profile: DeviceProfile, runtime: Runtime, threads: int) -> str:
    """`Quantity.source` of a time: `cycles`, or what of it nothing published or measured has confirmed.

    The profile's `emulation.verified` lists what has a truth: a runtime on so many threads, as `litert x4`.
    """
    verified = profile.get("emulation", "verified") or []
    if f"{runtime} x{threads}" in verified:
        return PRICED
    if any(one.startswith(f"{runtime} x") for one in verified):
        return f"{PRICED}; thread scaling unverified"
    scaling = " and its thread scaling" if threads > 1 else ""
    return f"{PRICED}; {runtime}{scaling} unverified"
