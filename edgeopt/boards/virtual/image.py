"""The disk image of virtual boards: made once per recipe, found damaged by its checksums, then made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards import places
from edgeopt.boards.virtual import cpio, lifeline, locks, qemu, recipe, rootfs, tools
from edgeopt.core.errors import BoardError, EdgeoptError
from edgeopt.core.progress import Observer

FILES = ("disk", "kernel", "initrd", "key", "known_hosts", rootfs.PACKAGES)
CHECKSUMS = "checksums.json"
FINISH_TIMEOUT_S = 300.0
BLOCK_BYTES = 1 << 20
UNUSED_S = 30 * 86400.0
"""An image of another recipe goes when nobody has used it for so long."""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image: `disk`, `kernel`, `initrd`, the client's `key`, `known_hosts` with the guest's, and
    `packages.txt`: the Debian packages and versions that are in it."""

    folder: Path

    def use(self) -> int:
        """A descriptor that keeps the image from being removed while it, or a copy of it, is open."""
        lock = self.folder / "use.lock"
        descriptor = locks.take(lock, shared=True)
        os.utime(lock)
        return descriptor

    def damage(self) -> str | None:
        """The name of a file that is not as it was made; None if all are. Reads all of them."""
        try:
            expected = json.loads((self.folder / CHECKSUMS).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return CHECKSUMS
        for name in FILES:
            if checksum(self.folder / name) != expected.get(name):
                return name
        return None

    def discard(self) -> None:
        """Put a damaged image out of the way; boards that run from it keep their open files."""
        away = self.folder.with_name(f"{self.folder.name}.damaged-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)


def folder() -> Path:
    """Where images are kept."""
    return places.cache() / "virtual"


def ready(observer: Observer | None = None) -> Image:
    """The image of the current recipe, made now if there is none. Several may ask at once: one makes it.

    Raises:
        BoardError: Its packages cannot be downloaded, or it does not start.
        EdgeoptError: No room, or no permission.
    """
    observer = observer or Observer()
    image = Image(folder() / recipe.digest())
    if (image.folder / CHECKSUMS).is_file():
        return image

    def waiting() -> None:
        observer.announce("another edgeopt is making the virtual board's image: waiting for it")

    try:
        with locks.locked(folder() / f"{recipe.digest()}.lock", waiting):
            if not (image.folder / CHECKSUMS).is_file():
                _clear()
                _make(image, observer)
    except OSError as error:
        raise rootfs.no_room(image.folder, error.strerror or str(error)) from error
    return image


def checksum(path: Path) -> str | None:
    """Of a file, skipping what is empty of it; None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            digest.update(b"%d" % size)
            at = 0
            while at < size:
                try:
                    at = os.lseek(stream.fileno(), at, os.SEEK_DATA) // BLOCK_BYTES * BLOCK_BYTES
                except OSError:  # nothing but a hole up to the end
                    break
                data = os.pread(stream.fileno(), BLOCK_BYTES, at)
                # A file system may keep zeros as a hole or not: neither is damage.
                if data.count(0) != len(data):
                    digest.update(b"%d:" % at)
                    digest.update(data)
                at += BLOCK_BYTES
    except OSError:
        return None
    return digest.hexdigest()


def _make(image: Image, observer: Observer) -> None:
    part = image.folder.with_name(f"{image.folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a builder that was killed
    part.mkdir(mode=0o700, parents=True)
    free = shutil.disk_usage(part).free
    try:
        if free < recipe.BUILD_BYTES:
            raise rootfs.no_room(image.folder, f"No space left: only {free / 1e6:.0f} MB are free")
        observer.stage("virtual board: downloading and unpacking Debian and runtimes (once)")
        _keys(part)
        public_key = (part / "key.pub").read_text()
        root = rootfs.make(part, public_key, part / "host_key")
        cpio.write(part / "first", part / "initrd")
        observer.stage("virtual board: making its disk")
        _disk(part, root)
        observer.stage("virtual board: first start, compiling what runtimes import")
        _finish(part)
        for name in ("root", "first"):
            shutil.rmtree(part / name)
        (part / "host_key").unlink()
        (part / "disk").chmod(0o400)
        (part / CHECKSUMS).write_text(json.dumps({name: checksum(part / name) for name in FILES}))
        (part / "use.lock").touch(mode=0o600)
        part.rename(image.folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _keys(part: Path) -> None:
    for name in ("key", "host_key"):
        status, said = lifeline.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", recipe.HOST, "-f", part / name]
        )
        if status:
            raise EdgeoptError(f"ssh-keygen failed: {said.strip()[:200]}")
    (part / "known_hosts").write_text(f"{recipe.HOST} {(part / 'host_key.pub').read_text()}")
    (part / "host_key.pub").unlink()


def _disk(part: Path, root: Path) -> None:
    disk = part / "disk"
    with disk.open("wb") as stream:
        stream.truncate(recipe.DISK_BYTES)
    # fakeroot lets the disk's files belong to root, and the user's own to the user.
    script = f'chown -R 1000:1000 "$1/home/{recipe.USER}"; shift; exec "$@"'
    make_file_system: list[str | Path] = [
        tools.which("mkfs.ext4") or "mkfs.ext4", "-q", "-d", root, "-m", "0", "-N", "65536", "-J", "size=8",
        "-E", "lazy_itable_init=0,root_owner=0:0", disk,
    ]  # fmt: skip
    status, said = lifeline.run(["fakeroot", "--", "sh", "-c", script, "sh", root, *make_file_system])
    if status:
        why = "No space left on device" if "No space" in said else said.strip()[:200]
        raise rootfs.no_room(part, why)


def _finish(part: Path) -> None:
    """Start the guest once on its own disk: whatever does not work is seen here, and imports are compiled."""
    kernel = f"{recipe.KERNEL_ARGUMENTS} edgeopt.finish"
    command = [
        qemu.PROGRAM, *qemu.hardware("cortex-a72", 1 << 30, part, kernel, "snapshot=off"),
        "-serial", "file:finish.log", "-no-reboot",
    ]  # fmt: skip
    begun = time.monotonic()
    with (part / "finish.err").open("w+b") as errors:
        machine = lifeline.Bound(command, folder=part, output=errors)
        try:
            while machine.status is None and time.monotonic() < begun + FINISH_TIMEOUT_S:
                time.sleep(0.05)
        finally:
            machine.end()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    said += (part / "finish.log").read_text(errors="replace") if (part / "finish.log").is_file() else ""
    if "FINISHED" not in said:
        lines = [line.strip() for line in said.splitlines() if line.strip() and "reboot:" not in line]
        why = lines[-1][:200] if lines else "it said nothing"
        raise BoardError(f"the virtual board's new image does not start: {why}")
    for name in ("finish.log", "finish.err"):
        (part / name).unlink()


def _clear() -> None:
    """Remove images of other recipes that nobody has used for long."""
    for lock in folder().glob("*/use.lock"):
        if time.time() - lock.stat().st_mtime > UNUSED_S and locks.is_free(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)
