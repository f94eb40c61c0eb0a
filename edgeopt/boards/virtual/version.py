"""What an emulated figure depends on besides the model: another version of it is another epoch."""

from __future__ import annotations

from edgeopt.boards.virtual import assembly, inorder, plugin, recipe
from edgeopt.boards.virtual.cycles import cache_arguments
from edgeopt.core.digest import file_digest, value_digest
from edgeopt.core.profile import DeviceProfile

COUNTING = 3
"""Of what is counted of an inference (`VirtualBoard`, the runner's `count`): raise it with every change."""

SECTIONS = ("cpu", "cache", "memory", "power", "emulation")


def machine(profile: DeviceProfile) -> str:
    """Of an emulator that is up: itself, its image, its counting plugin, its core and its caches."""
    counter = file_digest(plugin.SOURCE)
    core = profile.get("cpu", "core")
    return value_digest(recipe.digest(), plugin.emulator(), counter, core, cache_arguments(profile))[:16]


def counting(profile: DeviceProfile) -> str:
    """Of all that counts of a model depend on besides the model, its inputs and what ran before it."""
    return value_digest(machine(profile), COUNTING)[:16]


def emulation(profile: DeviceProfile, packages: str) -> str:
    """Of all that a figure comes from: what is counted, and what prices the counts.

    `packages` names and versions what Debian had when the image was made: that is not in the recipe.
    """
    facts = {section: profile.facts.get(section, {}) for section in SECTIONS}
    values = {section: {name: fact.value for name, fact in body.items()} for section, body in facts.items()}
    pricing = (assembly.REVISION, inorder.REVISION, assembly.llvm_version(assembly.tool("llvm-mca")))
    return value_digest(counting(profile), packages, pricing, values)[:8]
