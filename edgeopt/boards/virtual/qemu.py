"""The emulated machine: one QEMU command line for making, starting and restoring boards."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards.virtual import recipe
from edgeopt.boards.virtual.qmp import NETWORK
from edgeopt.core.digest import value_digest

PROGRAM = "qemu-system-aarch64"
CONSOLE, CONSOLE_LOG, CONTROL, COUNTS = "console", "console.log", "qmp", "counts"
"""In the folder that QEMU runs in: relative, as the path of a socket must be short."""

CODE_CACHE_MB = 192
"""For translated code. With counting on, a runtime's hot code takes about a third of it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a guest can see of its hardware.

    Attributes:
        core: QEMU's name of the CPU (`cortex-a72`).
        title: The device's model string.
    """

    core: str
    ram_bytes: int
    title: str

    def identity(self) -> str:
        """Boards saved by another QEMU, or as another machine, cannot be restored as this one."""
        program = Path(shutil.which(PROGRAM) or PROGRAM).resolve()
        seen = program.stat()
        return value_digest(
            self.core, self.ram_bytes, self.title, seen.st_size, seen.st_mtime_ns, self.arguments(Path(), 0)
        )[:16]

    def arguments(self, image: Path, port: int) -> list[str]:
        """Everything that the state of a saved board depends on."""
        kernel = f'{recipe.KERNEL_ARGUMENTS} edgeopt.model="{self.title}"'
        return [
            *hardware(self.core, self.ram_bytes, image, kernel, "snapshot=on"),
            "-netdev", f"user,id={NETWORK},restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
            "-device", f"virtio-net-pci,netdev={NETWORK},romfile=",
            "-device", "virtio-balloon-pci,free-page-reporting=on",
            "-chardev", f"socket,id=serial,path={CONSOLE},server=on,wait=off,logfile={CONSOLE_LOG}",
            "-serial", "chardev:serial", "-qmp", f"unix:{CONTROL},server=on,wait=off",
        ]  # fmt: skip

    def command(self, image: Path, port: int, plugin: Path, caches: Sequence[tuple[int, int]]) -> list[str]:
        """The whole command line; `caches` are bytes and ways of each simulated level."""
        levels = "".join(f",cache={size}:{ways}" for size, ways in caches)
        counting = f"{_escaped(plugin)},out={COUNTS}/c{levels}"
        return [PROGRAM, *self.arguments(image, port), "-plugin", counting]


def hardware(core: str, ram_bytes: int, image: Path, kernel_arguments: str, disk: str) -> list[str]:
    """A board without network; `disk` says what happens to its writes."""
    return [
        "-nodefaults", "-no-user-config", "-display", "none", "-M", "virt", "-cpu", core, "-smp", "1",
        "-m", f"{ram_bytes >> 20}M", "-accel", f"tcg,thread=single,tb-size={CODE_CACHE_MB}",
        "-kernel", str(image / "kernel"), "-initrd", str(image / "initrd"), "-append", kernel_arguments,
        "-drive", f"file={_escaped(image / 'disk')},format=raw,if=none,id=disk,cache=unsafe,{disk}",
        "-device", "virtio-blk-pci,drive=disk,romfile=", "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    """A path among options that commas separate."""
    return str(path).replace(",", ",,")
