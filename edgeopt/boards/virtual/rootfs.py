"""The guest's files: Debian packages unpacked, wheels unpacked, and what their scripts would have configured.

No program of the guest runs here, so it takes no emulation, and nobody needs to be root.
"""

from __future__ import annotations

import re
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import unquote

from edgeopt.boards.virtual import lifeline, recipe, tools
from edgeopt.core.errors import BoardError, EdgeoptError

PACKAGES = "packages.txt"
"""The Debian packages in the image with their versions: the recipe says which, their archive says what of."""

TRIES = 2
"""A mirror in the middle of an update fails once."""

UNREACHABLE = (
    "Failed to establish a new connection", "Cannot connect to proxy", "Connection to ", "ProxyError",
    "NewConnectionError", "Could not fetch URL", "timed out", "ConnectTimeout", "Name or service not known",
    "Temporary failure in name resolution", "Retrying (",
)  # fmt: skip
"""How pip says that it has reached nobody, before it says that nobody has the package."""

LIST_ARCHIVES = 'ls "$1/var/cache/apt/archives" > "$1.archives"'
"""What mmdebstrap runs while the packages are still there that it has fetched: nothing else tells versions,
for packages that are only unpacked are in no database."""

SUPERFLUOUS = (
    "boot", "lib/modules", "lib/udev", "usr/lib/linux-image-*", "usr/lib/*/perl", "usr/share/perl",
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info",
)  # fmt: skip
"""Of the packages' files, what nothing in the guest uses: a smaller image is read sooner."""


def make(folder: Path, public_key: str, host_key: Path) -> Path:
    """Make `folder/root`, `folder/kernel`, `folder/packages.txt` and the first RAM disk's `folder/first`.

    Args:
        public_key: Whose owner may log in.
        host_key: The guest's private host key.

    Raises:
        BoardError: Packages or wheels cannot be downloaded.
        EdgeoptError: The disk is full.
    """
    root, wheels = folder / "root", folder / "wheels"
    given_up = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(_debian, root, given_up), pool.submit(_download, wheels, given_up)]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:  # one has failed, or somebody has pressed Ctrl-C: the other need not go on
            given_up.set()
    try:
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(root / recipe.PACKAGES.lstrip("/"))
        shutil.rmtree(wheels)
        archives = root.with_name(f"{root.name}.archives")
        (folder / PACKAGES).write_text(_versions(archives.read_text().split()))
        archives.unlink()
        _first(root, folder)
        for pattern in SUPERFLUOUS:
            for folder_of_no_use in root.glob(pattern):
                shutil.rmtree(folder_of_no_use)
        _configure(root, public_key, host_key)
    except OSError as error:
        raise no_room(folder, str(error.strerror)) from error
    return root


def no_room(folder: Path, why: str) -> EdgeoptError:
    """The error for an image that could not be written."""
    return EdgeoptError(
        f"cannot make the virtual board's image in {folder.parent}: {why}",
        hint=f"free {recipe.BUILD_BYTES / 1e9:.1f} GB there, or set EDGEOPT_CACHE to a folder with more room",
    )


def _debian(root: Path, given_up: threading.Event) -> None:
    source = f"deb [signed-by={tools.KEYRING}] {recipe.mirror()} {recipe.SUITE} main"
    command: list[str | Path] = [
        "mmdebstrap", "--mode=chrootless", "--variant=extract", "--architectures=arm64", "--quiet",
        f"--extract-hook={LIST_ARCHIVES}", f"--include={','.join(recipe.listed('packages.txt'))}",
        recipe.SUITE, root, source,
    ]  # fmt: skip

    def clean() -> None:
        shutil.rmtree(root, ignore_errors=True)

    _fetch("Debian's packages", command, root.parent, clean, given_up, _debian_remedy)


def _download(wheels: Path, given_up: threading.Event) -> None:
    platforms = [part for name in recipe.PLATFORMS for part in ("--platform", name)]
    command: list[str | Path] = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--retries", "1", "--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation", "cp",
        "--python-version", recipe.PYTHON, *platforms, "--dest", wheels, "-r", recipe.GUEST / "wheels.txt",
    ]  # fmt: skip
    _fetch("the guest's Python packages", command, wheels.parent, lambda: None, given_up, _pip_remedy)


def _fetch(
    what: str,
    command: Sequence[str | Path],
    folder: Path,
    clean: Callable[[], None],
    given_up: threading.Event,
    remedy: Callable[[str], str],
) -> None:
    """`remedy` is told what the command has said, and says what to do."""
    status, said = 0, ""
    # When they are killed, both tools leave what they have fetched so far in the temporary folder.
    environment = {"TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
    for _ in range(TRIES):
        clean()
        status, said = lifeline.run(command, folder=folder, environment=environment, given_up=given_up)
        if status == 0 or given_up.is_set():
            return
        if "No space left on device" in said:
            raise no_room(folder, "No space left on device")
        if "No module named pip" in said:
            raise BoardError("this Python has no pip to fetch the guest's packages with",
                             hint=f"{sys.executable} -m ensurepip")  # fmt: skip
    raise BoardError(
        f"cannot download {what}: {_telling(said)}",
        hint=remedy(said),
    )


def _debian_remedy(said: str) -> str:
    del said
    return "making the image needs the network, once; EDGEOPT_DEBIAN_MIRROR names another Debian mirror"


def _pip_remedy(said: str) -> str:
    if "DO NOT MATCH THE HASHES" in said or "not match any of" in said:
        return "the package index has another file than the one that edgeopt pins: use PyPI (PIP_INDEX_URL)"
    if "No matching distribution" in said and not any(sign in said for sign in UNREACHABLE):
        return (
            "the package index that pip is set to lacks this arm64 wheel: use one that mirrors PyPI in full "
            "(PIP_INDEX_URL, or pip config list)"
        )
    return (
        "making the image needs the network, once; pip's settings name another package index or a proxy "
        "(PIP_INDEX_URL, https_proxy)"
    )


def _telling(said: str) -> str:
    """Why, in a line. Whoever does not reach an index says in the end that it has no such package."""
    if refused := re.search(r"Failed to establish a new connection: (?:\[Errno -?\d+\] )?([^')]+)", said):
        return f"nobody answers there ({refused[1].strip()})"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if line.lower().startswith(("e: ", "err:", "error"))]
    return (marked or lines or ["no reason given"])[0].removeprefix("ERROR: ")[:200]


def _versions(archives: Sequence[str]) -> str:
    """A line for each package, its name and version, from what apt calls their files."""
    parts = [unquote(name).removesuffix(".deb").split("_") for name in archives if name.endswith(".deb")]
    return "".join(f"{name} {version}\n" for name, version, _ in sorted(parts))


def _first(root: Path, folder: Path) -> None:
    """The kernel, and what the initial RAM disk takes from the packages."""
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    shutil.copyfile(kernel, folder / "kernel")
    first = folder / "first"
    for name in ("bin", "modules", "dev", "proc", "new"):
        (first / name).mkdir(parents=True)
    busybox = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.is_file())
    shutil.copy(busybox, first / "bin" / "busybox")
    there = {path.stem: path for path in (root / "lib/modules").rglob("*.ko")}
    order = [name for name in recipe.listed("modules.txt") if name in there]  # the rest is built in
    for name in order:
        shutil.copyfile(there[name], first / "modules" / f"{name}.ko")
    (first / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
    shutil.copyfile(recipe.GUEST / "first_init", first / "init")


def _configure(root: Path, public_key: str, host_key: Path) -> None:
    etc, home = root / "etc", root / "home" / recipe.USER
    for name, entries in recipe.ACCOUNTS.items():
        (etc / name).write_text("".join(f"{entry}\n" for entry in entries))
    (etc / "shadow").chmod(0o600)
    (etc / "hosts").write_text("127.0.0.1 localhost virtual\n")
    for folder in (home, root / "root"):
        (folder / ".ssh").mkdir(parents=True, mode=0o700)
        (folder / ".ssh" / "authorized_keys").write_text(public_key)
    (root / "root").chmod(0o700)
    shutil.copy(host_key, etc / "ssh" / "ssh_host_ed25519_key")
    shutil.copyfile(recipe.GUEST / "sshd_config", etc / "ssh" / "sshd_config")
    own = root / "usr" / "lib" / "edgeopt"
    own.mkdir()
    shutil.copyfile(recipe.GUEST / "imports.py", own / "imports.py")
    init = root / "sbin" / "edgeopt-init"
    shutil.copyfile(recipe.GUEST / "init", init)
    init.chmod(0o755)
