#!/usr/bin/env python3
"""Runs on a field device: installs signed packages of edgeopt, watches over them and goes back by itself.

One file, Python 3.9 or later, the standard library, the model's runtime for the self-test, and for signatures
the OpenSSL library that Python itself uses (where it cannot be loaded: the package `cryptography`).
Each command prints one JSON line and ends with the exit code of `edgeopt`.

    ROOT/trust/root.json          the root that is trusted; N.root.json: later ones that it led to
    ROOT/objects/SHA256           what packages brought, by content; SHA256.part: of which the rest is missing
    ROOT/versions/COUNTER-SHA/    a release as it is served: model, session.json, golden/, metadata/
    ROOT/current                  symbolic link to the version that serves
    ROOT/state.json               what was seen, is on trial, is blocked; config.json: what the owner wishes

Whatever happens, `current` leads to a version that was verified and has passed its self-test: all is written
and synchronised before the link is replaced, and the link is replaced by one rename. An application calls

    from edgeopt_field import load
    model = load()
    outputs = model.run({"input": array})       # by name
    model.reload_if_changed()                    # now and then; requests that run end with the old version
"""

from __future__ import annotations

import argparse
import base64
import calendar
import contextlib
import ctypes
import ctypes.util
import errno
import fcntl
import fnmatch
import functools
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

ROOT = "/var/lib/edgeopt"
CHUNK = 1 << 18
LARGEST_METADATA = 4 << 20
LARGEST_PACKAGE, MOST_MEMBERS, BLOCK = 2**33 - 1, 1000, 512

Json = dict[str, Any]


class Failed(Exception):
    """A command cannot do what it was asked for: `kind` and `code` are those of `edgeopt` on the host."""

    def __init__(self, kind: str, message: str, hint: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.kind, self.hint, self.facts = kind, hint, facts
        self.code = CODES.get(kind, 4)


CODES = {"host": 1, "usage": 2, "model": 3, "selftest": 5, "health": 5}
CODES.update(dict.fromkeys(("package", "signature", "expired", "downgrade", "blocked", "trust"), 6))
"""Exit code of each kind; `busy`, `disk`, `memory`, `connect` and what else is the device's: 4."""


# ---------------------------------------------------------------- files that outlive a power cut


def sync(folder: Path) -> None:
    """Make names that were added to a folder, or replaced in it, stay."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a small file so that at every moment either the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        store(temporary, [content], mode)
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync(path.parent)


def store(path: Path, pieces: Iterator[bytes] | list[bytes], mode: int = 0o644) -> None:
    """Write a file and wait until it is on the disk; its name is not."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        for piece in pieces:
            write_all(descriptor, piece)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """`os.write` may take a part only."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def folder(path: Path) -> Path:
    """A folder that is there, and stays."""
    if not path.is_dir():
        folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        sync(path.parent)
    return path


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file's bytes, little of it in memory at once."""
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(CHUNK):
            yield piece


def sha256(path: Path) -> str:
    """Of a file."""
    found = hashlib.sha256()
    for piece in pieces_of(path):
        found.update(piece)
    return found.hexdigest()


def remove(path: Path, trash: Path) -> None:
    """Remove a folder; nobody, not even after a power cut, finds half of it under its name."""
    away = folder(trash) / f"trash-{path.name}"
    shutil.rmtree(away, ignore_errors=True)
    path.rename(away)
    shutil.rmtree(away)


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder, until the end of this process at most; raises BlockingIOError if it is held."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------- signatures: Ed25519, ECDSA on P-256

ED25519 = 1087
"""OpenSSL's number of the algorithm (NID_ED25519)."""
SPKI = {
    "ed25519": bytes.fromhex("302a300506032b6570032100"),
    "ecdsa": bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
}
"""What stands before the key in its DER form (RFC 8410; RFC 5480, uncompressed point on P-256)."""
PKCS8 = bytes.fromhex("302e020100300506032b657004220420")


@functools.cache
def libcrypto() -> Any:
    """The OpenSSL library, which hashlib uses, too; None if it cannot be loaded."""
    for name in ("libcrypto.so.3", "libcrypto.so.1.1", ctypes.util.find_library("crypto")):
        with contextlib.suppress(OSError, AttributeError, TypeError):
            library = ctypes.CDLL(name) if name else None
            void, size = ctypes.c_void_p, ctypes.c_size_t
            for function, result, *arguments in (
                ("d2i_PUBKEY", void, void, void, ctypes.c_long),
                ("EVP_PKEY_new_raw_private_key", void, ctypes.c_int, void, void, size),
                ("EVP_PKEY_get_raw_public_key", ctypes.c_int, void, void, void),
                ("EVP_PKEY_free", None, void),
                ("EVP_MD_CTX_new", void),
                ("EVP_MD_CTX_free", None, void),
                ("EVP_sha256", void),
                ("EVP_DigestVerifyInit", ctypes.c_int, void, void, void, void, void),
                ("EVP_DigestVerify", ctypes.c_int, void, void, size, void, size),
                ("EVP_DigestSignInit", ctypes.c_int, void, void, void, void, void),
                ("EVP_DigestSign", ctypes.c_int, void, void, void, void, size),
            ):
                made = getattr(library, function)
                made.restype, made.argtypes = result, arguments
            return library
    return None


def is_signed(kind: str, public: bytes, signature: bytes, content: bytes) -> bool:
    """Whether a signature is that of a key.

    Args:
        kind: `ed25519` or `ecdsa`.
        public: Its bytes without what `SPKI` says.

    Raises:
        Failed: Nothing here can tell.
    """
    der, crypto = SPKI[kind] + public, libcrypto()
    if crypto is None:
        return _is_signed_by_package(kind, der, signature, content)
    address = ctypes.c_char_p(der)
    key = crypto.d2i_PUBKEY(None, ctypes.byref(address), len(der))
    context = crypto.EVP_MD_CTX_new()
    try:
        method = crypto.EVP_sha256() if kind == "ecdsa" else None
        if not key or crypto.EVP_DigestVerifyInit(context, None, method, None, key) != 1:
            return False
        return bool(crypto.EVP_DigestVerify(context, signature, len(signature), content, len(content)) == 1)
    finally:
        crypto.EVP_MD_CTX_free(context)
        crypto.EVP_PKEY_free(key)


def _is_signed_by_package(kind: str, der: bytes, signature: bytes, content: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_der_public_key
    except ImportError:
        raise Failed(
            "host", "neither OpenSSL's library nor Python's cryptography is here to check signatures",
            "run on the device: apt-get install -y python3-cryptography",
        ) from None  # fmt: skip
    try:
        key: Any = load_der_public_key(der)
        key.verify(signature, content, *([ec.ECDSA(SHA256())] if kind == "ecdsa" else []))
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(seed: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The public key of an Ed25519 key, and its signature."""
    crypto = libcrypto()
    if crypto is None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.from_private_bytes(seed)
        return private.public_key().public_bytes_raw(), private.sign(content)
    key, context = crypto.EVP_PKEY_new_raw_private_key(ED25519, None, seed, 32), crypto.EVP_MD_CTX_new()
    try:
        public, signature = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
        length = ctypes.c_size_t(32)
        done = crypto.EVP_PKEY_get_raw_public_key(key, public, ctypes.byref(length))
        length = ctypes.c_size_t(64)
        done &= crypto.EVP_DigestSignInit(context, None, None, None, key)
        done &= crypto.EVP_DigestSign(context, signature, ctypes.byref(length), content, len(content))
        if done != 1:
            raise Failed("host", "OpenSSL cannot sign with Ed25519", "it is older than version 1.1.1")
        return public.raw, signature.raw
    finally:
        crypto.EVP_MD_CTX_free(context)
        crypto.EVP_PKEY_free(key)


def pem(label: str, der: bytes) -> str:
    """A key as text."""
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n"


# ---------------------------------------------------------------- metadata: what was signed, by whom
# The strict subset of TUF 1.0 that edgeopt writes; https://theupdateframework.github.io/specification

ROLES = ("root", "snapshot", "targets", "timestamp")
HEX = re.compile(r"(?:[0-9a-f]{2})+")
PATH = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def canonical(value: Any) -> str:
    """OLPC's canonical JSON, which is what TUF signs: no floats, and only quotes and backslashes escaped."""
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value)) + "}"
    raise ValueError(f"{type(value).__name__} has no canonical form")


def require(met: Any, message: str, kind: str = "package") -> None:
    """Refuse what is not as it has to be."""
    if not met:
        raise Failed(kind, message, "get the package again from where it was made")


class Metadata:
    """One metadata file whose form is right; whether its signatures are is asked for by `require_signed`."""

    def __init__(self, name: str, content: bytes, role: str) -> None:
        self.name, self.content = name, content
        require(len(content) <= LARGEST_METADATA, f"{name} is larger than metadata ever is")
        try:
            document = json.loads(content)
            written = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
            self.payload = canonical(document["signed"]).encode()
            self.signed: Json = document["signed"]
            self.signatures: dict[str, str] = {one["keyid"]: one["sig"] for one in document["signatures"]}
            fields = [set(document), *map(set, document["signatures"])]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Failed("package", f"{name} is not metadata: {type(error).__name__}") from None
        require(written == content, f"{name} is not written as edgeopt writes it")
        require(
            fields[0] == {"signed", "signatures"} and all(one == {"keyid", "sig"} for one in fields[1:]),
            f"{name} has a field that no signature covers",
        )
        require(
            len(fields) - 1 == len(self.signatures) and all(isinstance(one, str) for one in self.signatures)
            and list(self.signatures) == sorted(self.signatures)
            and all(isinstance(one, str) and HEX.fullmatch(one) for one in self.signatures.values()),
            f"{name} has signatures that are doubled, in disorder or not hexadecimal",
        )  # fmt: skip
        try:
            self._require_form(role)
        except (TypeError, KeyError, AttributeError):
            raise Failed("package", f"{name} has a field of another type than it should be") from None

    def _require_form(self, role: str) -> None:
        signed = self.signed
        require(
            isinstance(signed, dict) and signed.get("_type") == role
            and isinstance(signed.get("spec_version"), str)
            and re.fullmatch(r"1\.\d+(\.\d+)?", signed["spec_version"])
            and is_whole(signed.get("version"), 1),
            f"{self.name} is not {role} metadata",
        )  # fmt: skip
        self.version: int = signed["version"]
        self.expires = seconds(self.name, signed.get("expires"))
        if role == "root":
            self._require_root()
        if role == "targets":
            self._require_targets()

    def _require_root(self) -> None:
        roles, keys = self.signed.get("roles"), self.signed.get("keys")
        require(
            isinstance(roles, dict) and isinstance(keys, dict) and sorted(roles) == sorted(ROLES)
            and isinstance(self.signed.get("consistent_snapshot"), bool),
            f"{self.name} does not say who may sign what",
        )  # fmt: skip
        for role in (roles or {}).values():
            known = isinstance(role, dict) and isinstance(role.get("keyids"), list)
            require(
                known and is_whole(role.get("threshold"), 1)
                and len(set(map(str, role["keyids"]))) == len(role["keyids"])
                and set(role["keyids"]) <= set(keys or {}),
                f"{self.name} has a role without keys, or whose keys are not there",
            )  # fmt: skip
        self.keys = {name: public_key(self.name, key) for name, key in (keys or {}).items()}
        own = self.signed.get("edgeopt")
        self.created = seconds(self.name, own.get("created") if isinstance(own, dict) else None)

    def _require_targets(self) -> None:
        own, files = self.signed.get("edgeopt"), self.signed.get("targets")
        require(
            isinstance(own, dict) and own.get("format") == 1 and isinstance(own.get("product"), str)
            and own["product"] and "delegations" not in self.signed and isinstance(files, dict),
            f"{self.name} is not of a package that this agent knows (format 1)",
        )  # fmt: skip
        require(len(files or {}) < MOST_MEMBERS, f"{self.name} lists too many files")
        for path, entry in (files or {}).items():
            shape = isinstance(entry, dict) and set(entry) == {"length", "hashes"}
            require(
                shape and is_path(path) and not path.startswith("metadata/") and is_whole(entry["length"], 0)
                and entry["length"] <= LARGEST_PACKAGE and isinstance(entry["hashes"], dict)
                and set(entry["hashes"]) == {"sha256"}
                and re.fullmatch("[0-9a-f]{64}", str(entry["hashes"]["sha256"])),
                f"{self.name} lists {path!a}, which is no file of a package",
            )  # fmt: skip

    def require_signed(self, role: str, root: Metadata) -> None:
        """Check that a role's threshold is met, and that all its signatures are right."""
        named = root.signed["roles"][role]
        count = set()
        for keyid in [one for one in self.signatures if one in named["keyids"]]:
            kind, public = root.keys[keyid]
            require(
                is_signed(kind, public, bytes.fromhex(self.signatures[keyid]), self.payload),
                f"{self.name}: the signature of key {keyid[:12]} is wrong: it, or what it signs, was changed",
                "signature",
            )
            count.add(public)  # two names of one key are one signer
        need = f"{len(count)} of the {named['threshold']} keys that role {role} needs"
        require(
            len(count) >= named["threshold"],
            f"{self.name}: signed by {need} (root version {root.version})",
            "signature",
        )

    def require_no_stranger(self, role: str, *roots: Metadata) -> None:
        """Check that every signature is by a key that one of the roots names for the role."""
        for keyid in self.signatures:
            require(
                any(keyid in root.signed["roles"][role]["keyids"] for root in roots),
                f"{self.name}: signed by key {keyid[:12]}, which is not one of role {role} "
                f"in root version {roots[-1].version}",
                "signature",
            )

    def require_current(self, now: float) -> None:
        """Check that it has not expired."""
        if self.expires <= now:
            day = self.signed["expires"]
            raise Failed(
                "expired", f"{self.name} expired at {day}", "package it again, or refresh the repository"
            )


def is_whole(value: Any, least: int) -> bool:
    """A whole number, which True is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_path(path: str) -> bool:
    """A name that leads nowhere else on any system."""
    return len(path) <= 100 and PATH.fullmatch(path) is not None


def seconds(name: str, text: Any) -> int:
    """A date of metadata, in seconds since 1970."""
    try:
        require(isinstance(text, str) and DATE.fullmatch(text), f"{name} has a date that is none")
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        raise Failed("package", f"{name} has a date that is none") from None


def public_key(name: str, key: Any) -> tuple[str, bytes]:
    """Kind and bytes of a key of a root."""
    try:
        scheme, text = (key["keytype"], key["scheme"]), key["keyval"]["public"]
        if scheme == ("ed25519", "ed25519") and re.fullmatch("[0-9a-f]{64}", text):
            return "ed25519", bytes.fromhex(text)
        if scheme == ("ecdsa", "ecdsa-sha2-nistp256"):
            body = re.fullmatch(
                r"-----BEGIN PUBLIC KEY-----\s(.*)\s-----END PUBLIC KEY-----\s*", text, re.DOTALL
            )
            der = base64.b64decode("".join(body[1].split()), validate=True) if body else b""
            if der.startswith(SPKI["ecdsa"]) and len(der) == 91:
                return "ecdsa", der[len(SPKI["ecdsa"]) :]
    except (KeyError, TypeError, ValueError):
        pass
    raise Failed("package", f"{name} names a key that is neither Ed25519 nor ECDSA on P-256")


def chain(contents: list[tuple[str, bytes]]) -> dict[int, Metadata]:
    """Follow roots from the first, which is taken as it is.

    Each is signed by its own keys, and each later one by those of its predecessor.
    """
    found: dict[int, Metadata] = {}
    last: Metadata | None = None
    for name, content in contents:
        root = Metadata(name, content, "root")
        if last or root.version == 1:  # else keys of a predecessor that is not known here have signed, too
            root.require_no_stranger("root", *([last] if last else []), root)
        if last:
            require(
                root.version == last.version + 1,
                f"{name} is not root version {last.version + 1}",
                "signature",
            )
            root.require_signed("root", last)
        root.require_signed("root", root)
        found[root.version] = last = root
    return found


class Trust:
    """The roots that this device trusts: the one that was brought by hand, and those that it led to."""

    def __init__(self, place: Path) -> None:
        self.place = place
        first = place / "root.json"
        if not first.is_file():
            raise Failed(
                "trust", "this device trusts nobody yet", "edgeopt deploy --trust DIR gives it a root"
            )
        contents = [(str(first), first.read_bytes())]
        version = Metadata(*contents[0], "root").version + 1
        while (path := place / f"{version}.root.json").is_file():
            contents.append((str(path), path.read_bytes()))
            version += 1
        self.roots = chain(contents)

    @property
    def root(self) -> Metadata:
        return self.roots[max(self.roots)]

    def extend(self, offered: dict[int, bytes]) -> None:
        """Follow the chain that a package or a repository brings, and keep what is new.

        What was revoked stays so: a chain that ends before the newest root here changes nothing.
        """
        brought = chain([(f"metadata/{one}.root.json", offered[one]) for one in sorted(offered)])
        require(
            list(brought) == sorted(offered), "a root has another version than its name says", "signature"
        )
        common = brought.keys() & self.roots.keys()
        for version in common:
            require(
                brought[version].content == self.roots[version].content,
                f"metadata/{version}.root.json is not the root version {version} that is trusted here",
                "trust",
            )  # fmt: skip
        if not common:
            end, begin = max(brought, default=0), min(self.roots)
            ends = f"its roots end at version {end}, and those trusted here begin at {begin}"
            raise Failed("trust", ends, "package it again with the present roots")
        for version in range(self.root.version + 1, max(brought) + 1):
            write(self.place / f"{version}.root.json", brought[version].content)
            self.roots[version] = brought[version]


# ---------------------------------------------------------------- packages: the form of an .edgepkg


def header(name: str, length: int) -> bytes:
    """The only header that a member can have (POSIX ustar)."""
    parts = (name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0" * 2, f"{length:011o}\0".encode())
    block = b"".join((*parts, b"0" * 11, b"\0", b" " * 8, b"0", bytes(100), b"ustar\00000")).ljust(
        BLOCK, b"\0"
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def members(stream: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Offset and length of each member; refuses every byte that the packager would not have written."""
    size = os.fstat(stream.fileno()).st_size
    require(size <= LARGEST_PACKAGE, "it is larger than 8 GiB")
    found: dict[str, tuple[int, int]] = {}
    while True:
        block = stream.read(BLOCK)
        require(len(block) == BLOCK, "it is cut off, or no package")
        if not any(block):
            break
        try:
            name, length = block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)
        except ValueError:
            raise Failed("package", "a header in it is damaged") from None
        require(is_path(name), f"member {name!a} has a name that leads elsewhere")
        require(header(name, length) == block, f"the header of {name} is not as edgeopt writes it")
        require(name not in found, f"member {name} is there twice")
        offset, pad = stream.tell(), -length % BLOCK
        require(offset + length + pad <= size, f"it is cut off in {name}")
        stream.seek(length, os.SEEK_CUR)
        require(not any(stream.read(pad)), f"there is something between {name} and the next member")
        found[name] = (offset, length)
        require(len(found) <= MOST_MEMBERS, "it holds too many members")
    require(stream.read(BLOCK + 1) == bytes(BLOCK), "there is something after its end")
    require(list(found) == sorted(found, key=order), "its members are in another order than edgeopt writes")
    for name in found:
        parts = name.split("/")
        require(all("/".join(parts[:n]) not in found for n in range(1, len(parts))), f"{name} lies in a file")
    return found


def order(name: str) -> tuple[int, int, str]:
    """Roots by version, the targets, then the payload by name."""
    version = root_version(name)
    return (0, version, "") if version else (1, 0, "") if name == TARGETS else (2, 0, name)


def root_version(name: str) -> int:
    """Of a member; 0 if it is not a root."""
    found = re.fullmatch(r"metadata/([1-9][0-9]{0,3})\.root\.json", name)
    return int(found[1]) if found else 0


TARGETS, MANIFEST = "metadata/targets.json", "manifest.json"


def part(stream: IO[bytes], place: tuple[int, int]) -> Iterator[bytes]:
    """The bytes of a member."""
    stream.seek(place[0])
    left = place[1]
    while left:
        piece = stream.read(min(left, CHUNK))
        require(piece, "it became shorter while it was read")
        left -= len(piece)
        yield piece


# ---------------------------------------------------------------- variants: what this device can run


def unmet(requires: Json) -> list[str]:
    """What of a variant's requirements this device does not meet, in words."""
    lacking = []
    machine = platform.machine()
    if requires.get("machine") and machine not in requires["machine"]:
        lacking.append(f"machine {' or '.join(requires['machine'])} (this is {machine})")
    flags = set(
        re.findall(
            r"[^\s:]+", " ".join(re.findall(r"(?m)^(?:Features|flags)\s*:(.*)$", read("/proc/cpuinfo")))
        )
    )
    if missing := [one for one in requires.get("isa") or [] if one not in flags]:
        lacking.append(f"instructions {' '.join(missing)}")
    total = memory("MemTotal")
    if total and (requires.get("ram_bytes") or 0) > total:
        lacking.append(f"{requires['ram_bytes'] >> 20} MB of memory (this has {total >> 20})")
    release = dict(re.findall(r'(?m)^(ID|VERSION_ID)="?([^"\n]*)', read("/etc/os-release")))
    system = f"{release.get('ID', 'unknown')}-{release.get('VERSION_ID', 'unknown')}"
    if requires.get("os") and not any(fnmatch.fnmatchcase(system, one) for one in requires["os"]):
        lacking.append(f"system {' or '.join(requires['os'])} (this is {system})")
    if not within(platform.python_version(), requires.get("python") or ""):
        lacking.append(f"Python {requires['python']} (this is {platform.python_version()})")
    name = str(requires.get("runtime"))
    known = runtime_version(name)
    if known is None or not within(known, requires.get("runtime_range") or ""):
        there = f"this has {known}" if known else "it is not installed"
        lacking.append(f"{name} {requires.get('runtime_range') or ''} ({there})")
    return lacking


DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "litert": ("ai-edge-litert",)}


def runtime_version(name: str) -> str | None:
    """Of an installed runtime, which is not imported for that."""
    from importlib.metadata import PackageNotFoundError, version

    for distribution in DISTRIBUTIONS.get(name, ()):
        with contextlib.suppress(PackageNotFoundError):
            return version(distribution)
    return None


def within(version: str, wanted: str) -> bool:
    """Whether a version lies in a range of PEP 440, by the numbers of releases alone."""

    def numbers(text: str, least: int = 4) -> list[int]:
        found = re.match(r"\s*\d+(\.\d+)*", text)
        parts = [int(one) for one in found[0].split(".")] if found else []
        return parts + [0] * (least - len(parts))

    for clause in filter(None, (one.strip() for one in wanted.split(","))):
        found = re.fullmatch(r"(>=|<=|==|!=|~=|<|>)\s*([0-9.]+?)(\.\*)?", clause)
        if not found:
            return False
        have, want, given = numbers(version), numbers(found[2]), found[2].count(".") + 1
        alike = have[:given] == want[:given] if found[3] else have == want
        met = {
            ">=": have >= want, "<=": have <= want, "<": have < want, ">": have > want, "==": alike,
            "!=": not alike, "~=": have >= want and have[: given - 1] == want[: given - 1],
        }  # fmt: skip
        if not met[found[1]]:
            return False
    return True


def read(path: str) -> str:
    """A small text file of the system; empty if there is none."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def memory(what: str) -> int | None:
    """A figure of /proc/meminfo, in bytes."""
    found = re.search(rf"(?m)^{what}:\s+(\d+) kB", read("/proc/meminfo"))
    return int(found[1]) * 1024 if found else None


class Release:
    """What a package says, verified by the device's trust; its payload is not here yet.

    Attributes:
        staging: SHA-256 of its targets metadata: what identifies it.
        version: Name of its folder.
        listed: SHA-256 and length of every file of its payload.
        keys: Who may sign such releases at present; empty until it was accepted.
    """

    def __init__(self, targets: Metadata, manifest: bytes) -> None:
        self.targets, self.manifest = targets, manifest
        self.staging = hashlib.sha256(targets.content).hexdigest()
        self.counter, self.product = targets.version, targets.signed["edgeopt"]["product"]
        self.keys: list[str] = []
        self.version = f"{self.counter}-{self.staging[:12]}"
        self.listed: dict[str, tuple[str, int]] = {
            path: (entry["hashes"]["sha256"], entry["length"])
            for path, entry in targets.signed["targets"].items()
        }
        digest = hashlib.sha256(manifest).hexdigest()
        require(
            self.listed.get(MANIFEST) == (digest, len(manifest)),
            "manifest.json is not the one that was signed",
        )
        try:
            self.facts = json.loads(manifest)
            same = (self.facts["product"], self.facts["counter"]) == (self.product, self.counter)
            require(same and self.facts["format"] == 1, "manifest.json speaks of another release, or format")
            self.created = seconds(MANIFEST, self.facts["created"])
            self.variants = {one["name"]: one for one in self.facts["variants"]}
        except (ValueError, KeyError, TypeError) as error:
            raise Failed(
                "package", f"manifest.json is not a manifest: {type(error).__name__} {error}"
            ) from None

    def choose(self) -> str:
        """The variant that promises the lowest latency of those that this device can run."""

        def promised(one: Json) -> float:
            latency = (one.get("promise") or {}).get("latency_ms")
            return float(latency["value"]) if latency else float("inf")

        lacking = {}
        for name, one in sorted(self.variants.items(), key=lambda item: promised(item[1])):
            if not (lacks := unmet(one["requires"])):
                return str(name)
            lacking[name] = lacks
        said = "; ".join(f"{name} needs {', '.join(lacks)}" for name, lacks in lacking.items())
        raise Failed(
            "model",
            f"no variant of the release runs here: {said}",
            "package one for this device",
            unmet=lacking,
        )

    def files(self, variant: str) -> dict[str, tuple[str, str, int]]:
        """What a variant's folder holds: name in it -> path in the package, sha256, length."""
        one = self.variants[variant]
        model = Path(one["model"])
        places = {
            path[len(f"{model.parent}/") :]: path
            for path in self.listed
            if path.startswith(f"{model.parent}/")
        }
        places["golden/inputs.npz"] = "golden/inputs.npz"
        places["golden/outputs.npz"] = one["golden"]
        for path in (one["model"], one["session"], *places.values()):
            require(path in self.listed, f"{path} is not among the files that were signed")
        return {name: (path, *self.listed[path]) for name, path in places.items()}


# ---------------------------------------------------------------- the device: what is here, what serves

START: Json = {
    "format": 1, "product": None, "highest": None, "trusted_time": 0, "seen": {}, "refused": None,
    "versions": {}, "trying": None, "blocked": {}, "history": [], "starts": [], "switching": False,
    "sequence": 0,
}  # fmt: skip
CONFIG: Json = {
    "on_switch": None, "health_command": None, "health_url": None, "trial_s": None, "max_latency_ms": None,
    "keep": 3, "repository": None, "report": None,
}  # fmt: skip
POLL_S, CHECK_S, MOST_FAILURES = 1.0, 10.0, 3
MOST_RESTARTS, RESTARTS_WITHIN_S = 3, 600
RESTARTED = f"the application started {MOST_RESTARTS} times anew in {RESTARTS_WITHIN_S // 60} min"
ON_SWITCH_S = 120.0
HISTORY = 20


class Device:
    """The folder of a device; every method may be cut off at any point, and be called again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.versions, self.objects, self.staging = root / "versions", root / "objects", root / "staging"

    def prepare(self) -> None:
        """Make the folders that commands which install need."""
        for one in (self.versions, self.objects, self.staging, self.root / "trust"):
            folder(one)
        own = Path(__file__).resolve()
        kept = folder(self.root / "bin") / "edgeopt_field.py"
        if own != kept and not (kept.is_file() and kept.read_bytes() == own.read_bytes()):
            write(kept, own.read_bytes(), 0o755)  # what boots and watches here is what installed

    @functools.cached_property
    def config(self) -> Json:
        """What the owner wishes."""
        path = self.root / "config.json"
        try:
            said = json.loads(path.read_text()) if path.is_file() else {}
            if unknown := sorted(set(said) - set(CONFIG)):
                raise ValueError(f"it does not know {', '.join(unknown)}")
        except (ValueError, TypeError) as error:
            raise Failed(
                "usage", f"{path} cannot be used: {error}", f"it may say {', '.join(CONFIG)}"
            ) from None
        wishes = {**CONFIG, **said}
        if wishes["trial_s"] is None:
            wishes["trial_s"] = 60 if wishes["health_command"] or wishes["health_url"] else 0
        return wishes

    def state(self) -> Json:
        """What is known of the past; where a storage fault has ruined that, what the versions here tell."""
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            return {**START, **json.loads((self.root / "state.json").read_text())}
        state: Json = json.loads(json.dumps(START))
        names = [path.name for path in self.versions.iterdir()] if self.versions.is_dir() else []
        for name in sorted(names, key=counter):
            with contextlib.suppress(Failed, OSError, ValueError, KeyError, TypeError):
                release, variant = self.installed(name)
                self.add_version(state, release, variant, "good")
                self.see(state, release, Trust(self.root / "trust").root.signed["roles"]["targets"]["keyids"])
        return state

    @contextlib.contextmanager
    def changing(self) -> Iterator[Json]:
        """Read the state, and write what the block has made of it."""
        with locked(self.root):
            state = self.state()
            yield state
            write(self.root / "state.json", json.dumps(state, indent=1, sort_keys=True).encode())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who installs or switches."""
        try:
            with locked(self.versions, wait=False):
                yield
        except BlockingIOError:
            raise Failed(
                "busy", "another installation goes on here", "status tells when it has ended"
            ) from None

    def is_busy(self) -> bool:
        try:
            with locked(self.versions, wait=False):
                return False
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False

    @property
    def current(self) -> str | None:
        """Name of the version that serves."""
        try:
            return serving(self.root)
        except OSError:
            return None

    def point(self, version: str) -> None:
        """Let a version serve from now on."""
        temporary = self.root / ".current.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(f"versions/{version}")
        temporary.rename(self.root / "current")
        sync(self.root)

    # ------------------------------------------------ what is known of releases

    def now(self) -> float:
        """The clock, or the newest time that signed metadata told of: a Pi's clock may be years behind."""
        return max(time.time(), float(self.state()["trusted_time"]))

    def verify(self, metadata: dict[str, bytes], manifest: bytes) -> Release:
        """Check a release against the device's trust and its past.

        Args:
            metadata: By name, without the folder.
        """
        names = {
            root_version(f"metadata/{name}"): content
            for name, content in metadata.items()
            if name != "targets.json"
        }
        require(
            sorted(names) == list(range(1, len(names) + 1)) and names,
            "its chain of roots does not go 1, 2, 3, …",
        )
        require("targets.json" in metadata, f"there is no {TARGETS}")
        trust = Trust(self.root / "trust")
        trust.extend(names)
        return self.accepted(trust, metadata["targets.json"], manifest)

    def accepted(self, trust: Trust, content: bytes, manifest: bytes) -> Release:
        """The release of targets metadata, if it is signed, new, of this product and not refused before."""
        targets = Metadata(TARGETS, content, "targets")
        targets.require_no_stranger("targets", trust.root)
        targets.require_signed("targets", trust.root)
        release = Release(targets, manifest)
        state = self.state()
        if state["product"] not in (None, release.product):
            raise Failed(
                "package", f"this device runs {state['product']}, and this is a release of {release.product}"
            )
        why = state["blocked"].get(release.version)
        if why and why["by"] != "owner":
            hint = f"package a better one; or on the device: unblock {release.counter}"
            raise Failed("blocked", f"release {release.counter} has failed here: {why['reason']}", hint)
        keys = trust.root.signed["roles"]["targets"]["keyids"]
        if (highest := state["highest"]) and not set(highest["keys"]).isdisjoint(keys):
            # With all keys replaced no old release can come back, and numbers that a thief used up are free.
            if release.counter < highest["counter"]:
                hint = "edgeopt rollback goes back to a version that is still there"
                raise Failed(
                    "downgrade", f"{release.counter} is older than {highest['counter']}, which was here", hint
                )
            if release.counter == highest["counter"] and release.staging != highest["targets"]:
                raise Failed(
                    "downgrade",
                    f"another release had the number {release.counter}",
                    "package it with a higher one",
                )
        now = max(self.now(), trust.root.created, release.created)
        if not (
            self.current == release.version
            and state["versions"].get(release.version, {}).get("state") == "good"
        ):
            trust.root.require_current(now)
            targets.require_current(now)
        release.keys = keys
        return release

    @staticmethod
    def see(state: Json, release: Release, keys: list[str]) -> None:
        """Remember a release that was accepted, so that no older one is."""
        state["product"] = release.product
        state["trusted_time"] = max(state["trusted_time"], release.created)
        state["highest"] = {"counter": release.counter, "targets": release.staging, "keys": keys}

    @staticmethod
    def add_version(state: Json, release: Release, variant: str, word: str) -> None:
        state["versions"][release.version] = {
            "counter": release.counter, "variant": variant, "state": word, "since": int(time.time()),
        }  # fmt: skip

    def installed(self, version: str) -> tuple[Release, str]:
        """The release of a version's folder, every file of which is as it was signed."""
        place = self.versions / version
        targets = Metadata(TARGETS, (place / TARGETS).read_bytes(), "targets")
        release = Release(targets, (place / MANIFEST).read_bytes())
        require(release.version == version, f"{version} holds another release")
        variant = str(json.loads((place / "installed.json").read_text())["variant"])
        require(variant in release.variants, f"{version} has no variant {variant}")
        for name, (_, digest, _) in release.files(variant).items():
            require(sha256(place / name) == digest, f"{version}/{name} is damaged")
        return release, variant

    def is_intact(self, version: str) -> bool:
        try:
            self.installed(version)
        except (Failed, OSError, ValueError, KeyError, TypeError):
            return False
        return True

    # ------------------------------------------------ staging

    def stage(self, metadata: dict[str, bytes], manifest: bytes) -> Json:
        """Accept a release and say which files it lacks; nothing of its payload is needed for that."""
        release = self.verify(metadata, manifest)
        return self.staged(release, {f"metadata/{name}": content for name, content in metadata.items()})

    def staged(self, release: Release, metadata: dict[str, bytes]) -> Json:
        """Keep what an accepted release says, for `install_staged`."""
        variant, state = release.choose(), self.state()
        lacking: list[Json] = []
        for path, digest, length in {one[1]: one for one in release.files(variant).values()}.values():
            have = self.objects / digest
            if not (have.is_file() and sha256(have) == digest):
                have.unlink(missing_ok=True)  # damaged by the storage
                begun = have.with_suffix(".part")
                offset = min(begun.stat().st_size, length) if begun.is_file() else 0
                lacking.append({"path": path, "sha256": digest, "length": length, "offset": offset})
        needed = sum(one["length"] - one["offset"] for one in lacking) + (1 << 20)
        for _, digest, length in release.files(variant).values():
            needed += length if is_shared(self.objects / digest) else 0
        self.require_room(needed)
        place = folder(self.staging / release.staging / "metadata")
        for name, content in {**metadata, MANIFEST: release.manifest}.items():
            write(place.parent / name, content)
        write(place.parent / "installed.json", json.dumps({"variant": variant}).encode())
        with self.changing() as changed:
            self.see(changed, release, release.keys)
        good = state["versions"].get(release.version, {}).get("state") == "good"
        return {
            "staging": release.staging, "product": release.product, "counter": release.counter,
            "variant": variant,
            "installed": self.current == release.version and good and self.is_intact(release.version),
            "missing": lacking,
        }  # fmt: skip

    def require_room(self, needed: int) -> None:
        disk = os.statvfs(self.root)
        free = disk.f_bavail * disk.f_frsize
        if free < needed:
            raise Failed(
                "disk", f"the release needs {needed >> 20} MB of disk, {free >> 20} are free",
                f"gc --keep 1 removes old versions, or free some space near {self.root}",
            )  # fmt: skip

    def read_staged(self, staging: str) -> tuple[Release, str]:
        """A release that `stage` has accepted, verified once more: its folder is a folder like any other."""
        place = self.staging / staging
        if not re.fullmatch("[0-9a-f]{64}", staging) or not (place / "installed.json").is_file():
            raise Failed("usage", f"nothing is staged as {staging[:64]}", "stage it first")
        trust = Trust(self.root / "trust")
        release = self.accepted(trust, (place / TARGETS).read_bytes(), (place / MANIFEST).read_bytes())
        require(release.staging == staging, "what is staged is another release")
        variant = str(json.loads((place / "installed.json").read_text())["variant"])
        require(variant in release.variants, "what is staged has another variant")
        return release, variant

    def receive(self, staging: str, source: Incoming) -> Json:
        """Take files of a staged release: for each a line of JSON and its bytes from `offset` on; then {}."""
        release, _ = self.read_staged(staging)
        listed = dict(release.listed.values())
        received: list[str] = []
        damaged: list[str] = []
        while line := source.readline(4096):
            try:
                head = json.loads(line)
                if not head:
                    return {"received": received, "damaged": damaged}
                digest, length, offset = head["sha256"], head["length"], head["offset"]
            except (ValueError, KeyError, TypeError):
                raise Failed("usage", "what arrived is not a file's header") from None
            if listed.get(digest) != length or not is_whole(offset, 0) or offset > length:
                raise Failed("package", "a file arrived that the release does not list")
            if self.append(digest, offset, length, source.read):
                received.append(digest)
            else:
                damaged.append(digest)
        raise Failed(
            "connect", "the transfer ended in between", "send the rest: nothing that arrived is lost"
        )

    def append(self, digest: str, offset: int, length: int, source: Callable[[int], bytes]) -> bool:
        """Add the rest of a file to what is there of it; False: it is damaged, and removed."""
        path = self.objects / f"{digest}.part"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o444)
        try:
            if os.fstat(descriptor).st_size < offset:
                raise Failed(
                    "usage", f"there are fewer than {offset} bytes of {digest[:12]} here", "stage it again"
                )
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            while offset < length:
                piece = source(length - offset)
                if not piece:
                    os.fsync(descriptor)
                    raise Failed(
                        "connect",
                        "the transfer ended in between",
                        "send the rest: nothing that arrived is lost",
                    )
                write_all(descriptor, piece)
                offset += len(piece)
            os.fsync(descriptor)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                path.unlink()  # else what fills the disk would stay
            raise
        finally:
            os.close(descriptor)
        if sha256(path) != digest:
            path.unlink()
            return False
        path.rename(self.objects / digest)
        sync(self.objects)
        return True

    def unpack(self, package: Path) -> str:
        """Stage a package file with all that this device needs of it, once all of it is verified."""
        with package.open("rb") as stream:
            found = members(stream)
            small = {}
            for name, place in found.items():
                if name.startswith("metadata/") or name == MANIFEST:
                    require(place[1] <= LARGEST_METADATA, f"{name} is larger than metadata ever is")
                    small[name] = b"".join(part(stream, place))
            require(MANIFEST in small and TARGETS in small, f"there is no {TARGETS} or {MANIFEST}")
            metadata = {name[9:]: content for name, content in small.items() if name != MANIFEST}
            release = self.verify(metadata, small[MANIFEST])
            payload = {name for name in found if not name.startswith("metadata/")}
            if payload != set(release.listed):
                odd = min(payload ^ set(release.listed))
                raise Failed("package", f"{odd} is {'not signed' if odd in payload else 'missing'}")
            for name in sorted(payload):
                digest, length = release.listed[name]
                require(found[name][1] == length, f"{name} has another length than was signed")
                whole = hashlib.sha256()
                for piece in part(stream, found[name]):
                    whole.update(piece)
                require(whole.hexdigest() == digest, f"{name} was changed after it was signed")
            said = self.staged(release, {f"metadata/{name}": content for name, content in metadata.items()})
            for one in said["missing"]:
                stream.seek(found[one["path"]][0])
                if not self.append(
                    one["sha256"], 0, one["length"], lambda most: stream.read(min(most, CHUNK))
                ):
                    damage = f"{one['path']} is damaged as soon as it is written"
                    raise Failed("disk", damage, "check the storage")
        return str(said["staging"])

    def assemble(self, release: Release, variant: str) -> None:
        """Make the version's folder of files that are here, each hashed once more, and give it its name."""
        final, place = self.versions / release.version, self.staging / release.staging
        if final.is_dir():
            if self.is_intact(release.version):
                return
            remove(final, self.staging)
        tree = place / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        folder(tree)
        for name, (path, digest, _) in release.files(variant).items():
            source = self.objects / digest
            if not source.is_file():
                raise Failed("usage", f"{path} has not arrived", "receive what stage names as missing")
            if sha256(source) != digest:
                source.unlink()
                raise Failed(
                    "disk", f"{path} was damaged on this device's storage", "repeat: it is sent again"
                )
            folder((tree / name).parent)
            link(source, tree / name)
        for name in [
            MANIFEST,
            "installed.json",
            *(f"metadata/{one.name}" for one in sorted((place / "metadata").iterdir())),
        ]:
            folder((tree / name).parent)
            store(tree / name, [(place / name).read_bytes()])
        for inner in (tree, *(one for one in sorted(tree.rglob("*")) if one.is_dir())):
            sync(inner)
        tree.rename(final)
        sync(self.versions)

    # ------------------------------------------------ installing

    def install_staged(self, staging: str) -> Json:
        """Assemble, test, switch and watch a staged release; whatever fails, the version before serves on."""
        release, variant = self.read_staged(staging)
        state, before = self.state(), self.current
        if before == release.version and state["versions"].get(before, {}).get("state") == "good":
            if self.is_intact(before):
                return self.answer(before, counter(before), None)
            before = self.newest_good(before)
            if before:  # the damaged one is repaired in its place: something else serves meanwhile
                self.point(before)
        self.assemble(release, variant)
        former = before if before and before != release.version else None
        try:
            tested = self_test(self.versions / release.version, self.versions / former if former else None,
                               release.variants[variant], self.config["max_latency_ms"])  # fmt: skip
        except Failed as error:
            if error.kind == "selftest":
                self.block(release, str(error))
                remove(self.versions / release.version, self.staging)
                shutil.rmtree(self.staging / staging, ignore_errors=True)
                error.facts = {**self.answer(self.current, counter(before), str(error)), **error.facts}
                error.facts["state"] = "rolled-back"
            raise
        with self.changing() as state:
            self.add_version(state, release, variant, "trying")
            state["trying"] = {"version": release.version, "previous": former, "told": False}
            state["blocked"].pop(release.version, None)
            state["starts"] = []
        self.point(release.version)
        shutil.rmtree(self.staging / staging, ignore_errors=True)
        return {**self.prove(), "selftest": tested}

    def prove(self) -> Json:
        """Tell the application of the version on trial, and watch over it until it is good or taken back."""
        trial = self.state()["trying"]
        version, previous = trial["version"], trial["previous"]
        failure = None if trial["told"] else self.tell()
        if failure is None:
            with self.changing() as state:
                state["trying"]["told"] = True
            failure = self.watch_over()
        if failure:
            self.take_back(failure)
            facts = {**self.answer(self.current, counter(version), failure), "state": "rolled-back"}
            raise Failed("health", f"release {counter(version)} was taken back: {failure}", **facts)
        self.settle(version)
        return self.answer(version, counter(previous), None)

    def settle(self, version: str) -> None:
        """A version is good from now on."""
        with self.changing() as state:
            state["versions"][version].update(state="good", since=int(time.time()))
            state["trying"] = None
            self.note(state, "install", version, "good", None)
        self.spool("good", version, None)
        with contextlib.suppress(OSError):
            self.collect(int(self.config["keep"]))

    def tell(self) -> str | None:
        """Run the owner's command after a switch; what went wrong, if anything."""
        command = self.config["on_switch"]
        if not command:
            return None
        with self.changing() as state:
            state["switching"] = True
        try:
            return run(command, ON_SWITCH_S, self.root, "the on-switch command")
        finally:
            with self.changing() as state:
                state["switching"] = False

    def watch_over(self) -> str | None:
        """For the time of a trial, ask the application how it is; why it has failed, if it has."""
        end, failures, checked = time.monotonic() + float(self.config["trial_s"]), 0, False
        why: str | None = None
        while True:
            if self.restarts(self.state()) >= MOST_RESTARTS:
                return RESTARTED
            if checked and not failures and time.monotonic() >= end:
                return None
            why = self.complaint()
            failures, checked = (failures + 1 if why else 0), True
            if failures >= MOST_FAILURES:
                return why
            if failures or time.monotonic() < end:
                time.sleep(min(POLL_S, max(0.05, end - time.monotonic())) if not failures else POLL_S)

    def complaint(self) -> str | None:
        """What the owner's health check has to complain of now."""
        command: str | None = self.config["health_command"]
        if command and (why := run(command, CHECK_S, self.root, "the health check")):
            return why
        if url := self.config["health_url"]:
            import urllib.request

            try:
                with urllib.request.urlopen(url, timeout=CHECK_S) as answer:  # noqa: S310 - the owner's own address
                    answer.read(CHUNK)
            except (OSError, ValueError) as error:
                return f"{url} says: {error}"
        return None

    @staticmethod
    def restarts(state: Json) -> int:
        """How often the application has started lately; a clock that went back does not hide any."""
        now = time.time()
        return sum(1 for one in state["starts"] if now - one < RESTARTS_WITHIN_S)

    def take_back(self, reason: str) -> None:
        """Let the version before the trial serve again, and never try that one once more."""
        state = self.state()
        trial = state["trying"]
        back = trial["previous"]
        if not (back and state["versions"].get(back, {}).get("state") == "good" and self.is_intact(back)):
            back = self.newest_good(trial["version"])
        with (
            contextlib.suppress(OSError),
            self.changing() as state,
        ):  # a full disk must not keep it from going back
            state["trying"]["failed"] = reason
        if back:
            self.point(back)
        else:  # it was the first: better none than one that is known to fail
            (self.root / "current").unlink()
            sync(self.root)
        with contextlib.suppress(OSError):
            self.end_trial(reason)
        with contextlib.suppress(Failed, OSError):
            self.tell()

    def end_trial(self, reason: str) -> None:
        """Write down that a version has failed."""
        with self.changing() as state:
            version = state["trying"]["version"]
            state["versions"][version]["state"] = "bad"
            state["blocked"][version] = {"counter": counter(version), "reason": reason, "by": "health"}
            state["trying"], state["starts"] = None, []
            self.note(state, "install", version, "rolled-back", reason)
        self.spool("rolled-back", version, reason)

    def block(self, release: Release, reason: str) -> None:
        """Write down that a release is not to be tried again."""
        with self.changing() as state:
            state["versions"].pop(release.version, None)
            state["blocked"][release.version] = {
                "counter": release.counter,
                "reason": reason,
                "by": "selftest",
            }
            self.note(state, "install", release.version, "rolled-back", reason)
        self.spool("rolled-back", release.version, reason)

    @staticmethod
    def note(state: Json, action: str, version: str | None, outcome: str, reason: str | None) -> None:
        entry = {
            "action": action,
            "counter": counter(version),
            "outcome": outcome,
            "reason": reason,
            "time": int(time.time()),
        }
        state["history"] = [*state["history"], entry][-HISTORY:]

    def newest_good(self, but: str | None) -> str | None:
        """The newest version that was good and is undamaged; one that was left if there is no other."""
        state = self.state()
        versions: dict[str, Json] = state["versions"]
        good = [name for name, one in versions.items() if one["state"] == "good" and name != but]
        good.sort(key=lambda name: (name not in state["blocked"], counter(name)), reverse=True)
        for name in good:
            if self.is_intact(name):
                return name
        return None

    # ------------------------------------------------ going back, booting, watching

    def rollback(self, to: int | None, leave: int | None) -> Json:
        """Go back to an earlier version that is here.

        Args:
            to: Its counter; None: the newest good one below the present.
            leave: Do nothing unless this one serves.
        """
        state, present = self.state(), self.current
        if present is None:
            raise Failed("usage", "nothing is installed here", "edgeopt deploy installs")
        if (leave is not None and counter(present) != leave) or (to is not None and to == counter(present)):
            return {**self.answer(present, None, None), "changed": False}
        good = {
            counter(name): name
            for name, one in state["versions"].items()
            if one["state"] == "good" and name != present
        }
        there = {number: name for number, name in good.items() if name not in state["blocked"]}
        if to is not None and to not in good:
            raise Failed("usage", f"version {to} is not here", f"there are {sorted(good) or 'no others'}")
        wanted = (
            [good[to]]
            if to is not None
            else [there[one] for one in sorted(there, reverse=True) if one < counter(present)]
        )
        target = next((name for name in wanted if self.is_intact(name)), None)
        if target is None:
            raise Failed("usage", "there is no earlier version here that is undamaged", "deploy one")
        with self.changing() as state:
            # Pulling must not bring it back at once; deploying it again on purpose may.
            if present in state["versions"]:
                state["blocked"][present] = {
                    "counter": counter(present),
                    "reason": "left by its owner",
                    "by": "owner",
                }
                if state["trying"]:
                    state["versions"][present]["state"] = "bad"
            state["blocked"].pop(target, None)
            state["trying"], state["starts"] = None, []
        self.point(target)
        failure = self.tell()
        with self.changing() as state:
            self.note(state, "rollback", target, "good", failure)
        self.spool("rolled-back", present, "by its owner")
        return {**self.answer(target, counter(present), failure), "changed": True}

    def boot(self) -> Json:
        """Before the application starts: see that what serves is undamaged and fit, or let another one serve.

        Also counts how often that happens: an application that starts again and again is not well.
        """
        known = self.state()["versions"].values() if self.versions.is_dir() else ()
        if not (self.current or any(one["state"] in ("good", "trying") for one in known)):
            return {**self.answer(None, None, None), "changed": False}
        if self.is_busy():  # an installation has just switched, and watches over this start itself
            with self.changing() as state:
                if not state["switching"]:
                    state["starts"].append(int(time.time()))
            return {**self.answer(self.current, None, None), "changed": False}
        with self.alone():
            return self.boot_alone()

    def boot_alone(self) -> Json:
        writable = True
        try:
            self.clear_up()
            with self.changing() as state:
                state["starts"] = [*state["starts"], int(time.time())][-10:]
        except OSError:  # a read-only or full disk: what serves can be checked all the same
            writable = False
        state, present = self.state(), self.current
        trial, reason = state["trying"], None
        if present is None or not self.is_intact(present):
            reason = "it is damaged" if present else "the link to it is gone"
        elif state["versions"].get(present, {}).get("state") not in ("good", "trying"):
            reason = state["blocked"].get(present, {}).get("reason", "it was never found good")
        elif trial and self.restarts(state) > MOST_RESTARTS:  # the first start is none that is repeated
            reason = RESTARTED
        if reason is None:
            with contextlib.suppress(OSError, Failed):
                if trial and trial["version"] == present and not self.config["trial_s"]:
                    self.settle(str(present))  # nobody was named who could say more
            return {**self.answer(self.current, None, None), "changed": False, "writable": writable}
        target = self.newest_good(present)
        if target is None:
            raise Failed("health", f"{present or 'what served'} cannot serve: {reason}; no other version can",
                         "deploy one")  # fmt: skip
        self.point(target)
        with contextlib.suppress(OSError):
            if trial and trial["version"] == present:
                self.end_trial(reason)
            else:
                with self.changing() as state:
                    if present in state["versions"]:
                        state["versions"][present]["state"] = "bad"
                    self.note(state, "boot", target, "good", f"{present}: {reason}")
        return {**self.answer(target, counter(present), reason), "changed": True, "writable": writable}

    def clear_up(self) -> None:
        """Remove what a power cut has left half done, but not what a transfer can go on with."""
        for left in [*self.staging.glob("trash-*"), *self.staging.glob("*/tree")]:
            shutil.rmtree(left)
        state = self.state()
        trial = state["trying"]
        if trial and trial["version"] != self.current:
            if trial.get("failed"):
                self.end_trial(trial["failed"])
            else:  # cut between the note and the switch: it has never served
                with self.changing() as state:
                    state["trying"] = None
                    state["versions"].pop(trial["version"], None)
        if state["switching"]:
            with self.changing() as state:
                state["switching"] = False

    def watch(self) -> Json:
        """Go on with a trial whose installer is gone, and send reports that wait."""
        if self.is_busy() or not self.versions.is_dir():
            return {**self.answer(self.current, None, None), "busy": True}
        with self.alone():
            self.clear_up()
            trial = self.state()["trying"]
            said = self.prove() if trial else self.answer(self.current, None, None)
        self.send_reports()
        return said

    # ------------------------------------------------ answers

    def answer(self, version: str | None, previous: int | None, reason: str | None) -> Json:
        """What serves now."""
        state = self.state()
        one = state["versions"].get(version or "", {})
        word = one.get("state", "good") if version else "none"
        return {
            "state": word, "product": state["product"], "counter": counter(version) if version else None,
            "variant": one.get("variant"), "version": version, "reason": reason,
            "previous": None if previous is None or previous < 0 else previous,
        }  # fmt: skip

    def status(self) -> Json:
        """All that is known, for people and for `edgeopt status`."""
        state, present = self.state(), self.current
        identity = self.identity() if self.root.is_dir() else None
        versions = [{"version": name, **one} for name, one in state["versions"].items()]
        return {
            **self.answer(present, None, None), "device_id": identity and identity[0],
            "device_key": identity and identity[1],
            "since": state["versions"].get(present or "", {}).get("since"),
            "highest_counter": (state["highest"] or {}).get("counter"),
            "versions": sorted(versions, key=lambda one: int(one["counter"])),
            "last": (state["history"] or [None])[-1], "history": state["history"],
            "blocked": [{"version": name, **one} for name, one in sorted(state["blocked"].items())],
            "busy": self.is_busy(), "time": int(self.now()), "unsent_reports": len(self.spooled()),
        }  # fmt: skip

    def have(self) -> Json:
        """Hashes of what is here."""
        names = [one.name for one in self.objects.iterdir()] if self.objects.is_dir() else []
        return {"objects": sorted(name for name in names if re.fullmatch("[0-9a-f]{64}", name))}

    def trust(self, content: bytes) -> Json:
        """Take the first root that this device trusts; another one later is refused."""
        root = Metadata("the root", content, "root")
        chain([("the root", content)])
        place = folder(self.root / "trust") / "root.json"
        if not place.is_file():
            write(place, content)
            return {"trust": "installed", "version": root.version}
        known = Trust(place.parent).roots
        if root.version not in known or known[root.version].content != content:
            raise Failed(
                "trust", "this device trusts another root", f"if that is meant, replace {place} by hand"
            )
        return {"trust": "kept", "version": root.version}

    def unblock(self, number: int) -> Json:
        """Let a release be tried once more."""
        with self.changing() as state:
            names = [name for name in state["blocked"] if counter(name) == number]
            for name in names:
                del state["blocked"][name]
        return {"unblocked": names}

    def collect(self, keep: int) -> Json:
        """Remove all but what serves, what a trial goes back to, and the newest good ones, at least two."""
        state, present = self.state(), self.current
        good = [
            name
            for name, one in state["versions"].items()
            if one["state"] == "good" and name not in state["blocked"]
        ]
        kept = {present, (state["trying"] or {}).get("previous"), *sorted(good, key=counter)[-max(keep, 2) :]}
        gone = [name for name in state["versions"] if name not in kept]
        with self.changing() as state:
            for name in gone:
                del state["versions"][name]
        known = set(state["versions"]) | kept
        for path in [one for one in self.versions.iterdir() if one.name not in known]:
            remove(path, self.staging)
        needed: set[str] = set()
        for place in [
            *self.versions.iterdir(),
            *(one for one in self.staging.iterdir() if (one / TARGETS).is_file()),
        ]:
            with contextlib.suppress(OSError, ValueError, KeyError):
                listed = json.loads((place / TARGETS).read_text())["signed"]["targets"].values()
                needed.update(one["hashes"]["sha256"] for one in listed)
        removed = [one for one in self.objects.iterdir() if one.name[:64] not in needed]
        for one in removed:
            one.unlink()
        return {"removed": gone, "objects": len(removed), "kept": sorted(self.state()["versions"])}

    # ------------------------------------------------ reports: what happened here, signed, sent when possible

    def identity(self) -> tuple[str, str, bytes] | None:
        """Id, public key as text, and secret of this device, made at first use; None: it cannot be kept."""
        path = self.root / "device.key"
        try:
            if not path.is_file():
                write(path, pem("PRIVATE KEY", PKCS8 + os.urandom(32)).encode(), 0o600)
            der = base64.b64decode("".join(path.read_text().splitlines()[1:-1]))
            seed = der[len(PKCS8) :]
            public, _ = sign(seed, b"")
        except (OSError, ValueError):
            return None
        return hashlib.sha256(public).hexdigest()[:32], pem("PUBLIC KEY", SPKI["ed25519"] + public), seed

    def spool(self, outcome: str, version: str | None, reason: str | None) -> None:
        """Keep a report until it can be sent; without an address there is nobody to tell."""
        with contextlib.suppress(OSError, Failed):  # nothing may depend on a report
            if not self.config["report"]:
                return
            identity = self.identity()
            with self.changing() as state:
                state["sequence"] += 1
                signed = {
                    "device_id": identity[0] if identity else None, "product": state["product"],
                    "counter": counter(version), "outcome": outcome, "reason": reason and printable(reason),
                    "current": counter(self.current), "time": int(self.now()), "sequence": state["sequence"],
                }  # fmt: skip
            if identity is None:
                return
            content = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            report = {
                "signed": signed,
                "signature": sign(identity[2], content)[1].hex(),
                "public_key": identity[1],
            }
            write(folder(self.root / "spool") / f"{signed['sequence']:012}.json", json.dumps(report).encode())
            for old in self.spooled()[:-MOST_REPORTS]:
                old.unlink()

    def spooled(self) -> list[Path]:
        return sorted((self.root / "spool").glob("*.json"))

    def send_reports(self) -> None:
        """Send what waits, oldest first, until one cannot be sent."""
        import http.client
        import urllib.error
        import urllib.request

        for path in self.spooled() if self.config["report"] else []:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(self.config["report"], path.read_bytes(), headers)  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=NETWORK_S):  # noqa: S310 - the owner's own address
                    pass
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != 409:  # it is there already
                    return
            except (OSError, ValueError, http.client.HTTPException):
                return
            path.unlink()

    # ------------------------------------------------ pulling: a TUF repository, read by plain HTTP

    def pull(self, url: str) -> Json:
        """Install what a repository offers, if it is newer and this device's turn has come."""
        trust, state = Trust(self.root / "trust"), self.state()
        while (
            root := fetch(url, f"metadata/{trust.root.version + 1}.root.json", LARGEST_METADATA, True)
        ) is not None:
            trust.extend({trust.root.version: trust.root.content, trust.root.version + 1: root})
        now = max(self.now(), trust.root.created)
        trust.root.require_current(now)
        stamp = self.offered(
            trust, "timestamp", fetch(url, "metadata/timestamp.json", LARGEST_METADATA), None, now
        )
        meta = listed_meta(stamp, "snapshot.json")
        snapshot = self.offered(
            trust,
            "snapshot",
            fetch(url, f"metadata/{meta['version']}.snapshot.json", LARGEST_METADATA),
            meta,
            now,
        )
        with self.changing() as changed:
            for one, role in ((stamp, "timestamp"), (snapshot, "snapshot")):
                changed["seen"][role] = {
                    "version": one.version,
                    "keys": trust.root.signed["roles"][role]["keyids"],
                }
        meta = listed_meta(snapshot, "targets.json")
        content = fetch(url, f"metadata/{meta['version']}.targets.json", LARGEST_METADATA)
        require_meta("targets.json", content, meta)
        targets = Metadata(TARGETS, content, "targets")
        require(
            targets.version == meta["version"], "targets.json has another version than the repository says"
        )
        version = f"{targets.version}-{hashlib.sha256(content).hexdigest()[:12]}"
        present = {**self.answer(self.current, None, None), "changed": False, "offered": targets.version}
        if version in state["blocked"]:
            return {**present, "blocked": True}
        if version == self.current and present["state"] in ("good", "trying") and self.is_intact(version):
            return present
        if not self.has_turn(stamp, targets.version):
            return {**present, "waiting": True}
        digest = targets.signed["targets"].get(MANIFEST, {}).get("hashes", {}).get("sha256")
        require(digest, "manifest.json is not among the files that were signed")
        manifest = fetch(url, f"targets/{digest}.{MANIFEST}", LARGEST_METADATA)
        try:
            release = self.accepted(trust, content, manifest)
            roots = {f"metadata/{number}.root.json": one.content for number, one in trust.roots.items()}
            said = self.staged(release, {**roots, TARGETS: content})
        except Failed as error:
            if error.code in (3, 6) and state.get("refused") != version:
                with self.changing() as changed:
                    changed["refused"] = version
                self.spool("refused", version, str(error))
            raise
        for one in said["missing"]:
            if not (self.download(url, one, one["offset"]) or self.download(url, one, 0)):
                raise Failed("package", f"{one['path']} arrives damaged", "publish the release again")
        return {**self.install_staged(said["staging"]), "changed": True}

    def offered(self, trust: Trust, role: str, content: bytes, meta: Json | None, now: float) -> Metadata:
        """Metadata of a repository: signed by its role, no older than what was seen, not expired."""
        if meta:
            require_meta(f"{role}.json", content, meta)
        found = Metadata(f"{role}.json", content, role)
        found.require_no_stranger(role, trust.root)
        found.require_signed(role, trust.root)
        require(
            meta is None or found.version == meta["version"],
            f"{role}.json has another version than was signed",
        )
        seen = self.state()["seen"].get(role)
        # With all keys of a role replaced its numbers begin anew: a stolen key cannot have used them up.
        if seen and not set(seen["keys"]).isdisjoint(trust.root.signed["roles"][role]["keyids"]):
            require(found.version >= seen["version"], f"the repository went back: {role}.json is version "
                    f"{found.version}, {seen['version']} was seen", "downgrade")  # fmt: skip
        found.require_current(now)
        return found

    def has_turn(self, stamp: Metadata, number: int) -> bool:
        """Whether this device belongs to the share that may take the release already."""
        own = stamp.signed.get("edgeopt")
        share_ppm = own.get("share_ppm", 1_000_000) if isinstance(own, dict) else 1_000_000
        require(is_whole(share_ppm, 0), "timestamp.json names a share that is none")
        identity = self.identity()
        drawn = hashlib.sha256(f"{identity[0] if identity else ''}:{number}".encode()).hexdigest()[:8]
        return int(drawn, 16) * 1_000_000 < share_ppm * 2**32

    def download(self, url: str, one: Json, offset: int) -> bool:
        """Fetch the rest of a file; False: it is damaged."""
        parent, _, name = one["path"].rpartition("/")
        path = f"targets/{parent}{'/' if parent else ''}{one['sha256']}.{name}"
        with connected(url, path, offset) as answer:
            begin = offset if answer.status == 206 else 0
            return self.append(
                one["sha256"], begin, one["length"], lambda most: bytes(answer.read(min(most, CHUNK)))
            )


MOST_REPORTS = 100
NETWORK_S = 30.0


@contextlib.contextmanager
def connected(url: str, path: str, offset: int = 0) -> Iterator[Any]:
    """An answer of a web server, from byte `offset` on if it can."""
    import http.client
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise Failed("usage", f"{url} is no address of a repository", "it begins with https:// or http://")
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/{path}", headers=headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=NETWORK_S) as answer:  # noqa: S310
            yield answer
    except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
        code = getattr(error, "code", None)
        if code == 416 and offset:  # all of it is here: the hash tells
            raise Failed("connect", f"{path} ends before byte {offset}", "pull again") from None
        raise Failed("connect", f"{url}/{path}: {error}", "pull again later", code=code) from None


def fetch(url: str, path: str, most: int, optional: bool = False) -> Any:
    """A small file of a repository; None if it is optional and not there."""
    try:
        with connected(url, path) as answer:
            content = answer.read(most + 1)
    except Failed as error:
        if optional and error.facts.get("code") in (403, 404):  # what some stores say of what is not there
            return None
        raise
    require(len(content) <= most, f"{path} is larger than metadata ever is")
    return content


def listed_meta(metadata: Metadata, name: str) -> Json:
    """What a timestamp or a snapshot says of another metadata file."""
    meta = metadata.signed.get("meta")
    found = meta.get(name) if isinstance(meta, dict) else None
    require(
        isinstance(found, dict) and is_whole(found.get("version"), 1),
        f"{metadata.name} does not speak of {name}",
    )
    return dict(found or {})


def require_meta(name: str, content: bytes, meta: Json) -> None:
    """Check length and hash of a metadata file, which edgeopt always lists."""
    hashes = meta.get("hashes")
    expected = (meta.get("length"), hashes.get("sha256") if isinstance(hashes, dict) else None)
    require(
        (len(content), hashlib.sha256(content).hexdigest()) == expected,
        f"{name} is not the one that was signed",
    )


def counter(version: str | None) -> int:
    """The number of a release, from the name of its folder; -1: none."""
    head = (version or "").partition("-")[0]
    return int(head) if head.isdigit() else -1


def serving(root: Path) -> str:
    """Name of the version that serves; raises FileNotFoundError if there is none."""
    return (root / "current").readlink().name


def is_shared(path: Path) -> bool:
    """Whether a version has this very file already."""
    return path.is_file() and path.stat().st_nlink > 1


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where a version has it already or the disk knows no links.

    Versions share no file: what the storage does to one must not reach the one that would take its place.
    """
    if is_shared(source):
        store(target, pieces_of(source), 0o444)
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EMLINK):
            raise
        store(target, pieces_of(source), 0o444)


def run(command: str, limit_s: float, root: Path, what: str) -> str | None:
    """Run a command of the owner's; what went wrong, if anything. What it leaves running goes on."""
    import tempfile

    known = {"EDGEOPT_ROOT": str(root), "EDGEOPT_CURRENT": str(root / "current")}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            cwd=root, env={**os.environ, **known}, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"{what} took longer than {limit_s:g} s"
        if status == 0:
            return None
        said.seek(max(0, said.tell() - 500))
        lines = said.read().decode(errors="replace").strip().splitlines() or ["nothing"]
    return f"{what} ended with {status}, saying: {printable(lines[-1])}"


def printable(text: str) -> str:
    """One short line."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:300]


# ---------------------------------------------------------------- the model: sessions of runtimes


class OnnxRuntime:
    """A session of ONNX Runtime, by names."""

    def __init__(self, place: Path, settings: Json) -> None:
        import onnxruntime

        options, wanted = onnxruntime.SessionOptions(), settings["options"]
        options.log_severity_level = 4
        options.intra_op_num_threads = wanted["intra_op_num_threads"]
        options.inter_op_num_threads = wanted["inter_op_num_threads"]
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(
            wanted["graph_optimization_level"]
        )
        for key, value in wanted["config"].items():
            options.add_session_config_entry(key, value)
        model = str(place / settings["model"])
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._outputs = [one.name for one in self._session.get_outputs()]

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(self._outputs, self._session.run(None, inputs)))  # noqa: B905 - Python 3.9


class LiteRt:
    """An interpreter of LiteRT, by names; one request at a time."""

    def __init__(self, place: Path, settings: Json) -> None:
        from ai_edge_litert import interpreter

        kinds, wanted = interpreter.OpResolverType, settings["options"]
        self._interpreter = interpreter.Interpreter(
            model_path=str(place / settings["model"]),
            num_threads=wanted["num_threads"] or len(os.sched_getaffinity(0)),
            experimental_op_resolver_type=kinds.AUTO
            if wanted["xnnpack"]
            else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self._inputs = {one["name"]: one["index"] for one in self._interpreter.get_input_details()}
        self._outputs = {one["name"]: one["index"] for one in self._interpreter.get_output_details()}
        self._lock = threading.Lock()

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            for name, value in inputs.items():
                self._interpreter.set_tensor(self._inputs[name], value)
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


SESSIONS: dict[str, Callable[[Path, Json], Any]] = {"onnxruntime": OnnxRuntime, "litert": LiteRt}


def open_session(place: Path) -> Any:
    """The model of a version's folder, as its session.json says."""
    settings = json.loads((place / "session.json").read_text())
    return SESSIONS[settings["runtime"]](place, settings)


class Model:
    """The model that serves, whichever that is; safe to be used by several threads.

    Attributes:
        version: Name of the version's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._lock = root, threading.Lock()
        self.version, self._session = self._open()

    @property
    def counter(self) -> int:
        """Of the release."""
        return counter(self.version)

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Outputs by name, for inputs by name: arrays of the shapes and types of `session.json`."""
        outputs: dict[str, Any] = self._session.run(inputs)
        return outputs

    def reload_if_changed(self) -> bool:
        """Load the version that serves now, if it is another one. Requests that run end with the old one."""
        with self._lock:
            if serving(self._root) == self.version:
                return False
            version, session = self._open()
            self._session, self.version = session, version
            return True

    def _open(self) -> tuple[str, Any]:
        for _ in range(5):
            version = serving(self._root)
            try:
                # Its own folder, not `current`: model and session.json are of one version, whatever switches.
                return version, open_session(self._root / "versions" / version)
            except Exception:
                if serving(self._root) == version:
                    raise
        raise Failed("busy", "the version that serves changes all the time", "try again")


def load(root: str | Path | None = None) -> Model:
    """The model that this device serves.

    Args:
        root: Folder of the agent; None: $EDGEOPT_FIELD_ROOT, or /var/lib/edgeopt.

    Raises:
        FileNotFoundError: Nothing is installed there.
    """
    return Model(Path(root or os.environ.get("EDGEOPT_FIELD_ROOT") or ROOT))


# ---------------------------------------------------------------- self-test: in a process of its own

TEST_S = 600.0
TRIES, ROUNDS, ROUND_S = 3, 5, 0.05
ALIKE = 1.1
"""So much slower than what serves is within the noise of so short a test, and not tried again."""


def self_test(new: Path, before: Path | None, variant: Json, limit_ms: float | None) -> Json:
    """Run a version on its golden inputs, and time it in turns with the one that serves.

    Raises:
        Failed: `memory`: it was not tried; `selftest`: it computes something else than it should, crashes, or
            takes longer than `limit_ms` in each of three tries. Being slower than before is no failure.
    """
    need = variant["requires"].get("ram_bytes") or sum(one.stat().st_size for one in new.glob("model.*"))
    free = memory("MemAvailable")
    if free is not None and free < need:
        raise Failed(
            "memory",
            f"the model needs {need >> 20} MB of memory, {free >> 20} are free",
            "end what needs much",
        )
    with contextlib.ExitStack() as stack:
        subject = Subject(new)
        stack.callback(subject.end)
        facts = {**subject.ask("golden", variant["tolerance"]), "free_bytes": free, "limit_ms": limit_ms}
        if facts["wrong"]:
            raise Failed(
                "selftest", f"it computes something else than it should: {facts['wrong']}", selftest=facts
            )
        rival = None
        if before and (free is None or free > 2 * need):
            with contextlib.suppress(Failed):  # what serves may itself be what has to be replaced
                rival = Subject(before)
                stack.callback(rival.end)
                rival.ask("time", 0.0)
        best: tuple[float, float | None] | None = None
        for _ in range(TRIES):
            own: list[float] = []
            other: list[float] = []
            for _ in range(ROUNDS):
                own += subject.ask("time", ROUND_S)["ms"]
                other += rival.ask("time", ROUND_S)["ms"] if rival else []
            now = (statistics.median(own), statistics.median(other) if other else None)
            best = min(best, now, key=lambda one: one[0]) if best else now
            if (limit_ms is None or best[0] <= limit_ms) and (best[1] is None or best[0] <= ALIKE * best[1]):
                break
        facts["latency_ms"], facts["serving_latency_ms"] = best or (None, None)
        if limit_ms is not None and best and best[0] > limit_ms:
            said = f"it takes {best[0]:.3g} ms, in {TRIES} tries, and {limit_ms:g} are allowed"
            raise Failed("selftest", said, selftest=facts)
        return facts


class Subject:
    """A process that has loaded a version; if memory ends the kernel takes it, and nothing else."""

    def __init__(self, place: Path) -> None:
        known = {"ORT_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--subject", str(place), str(os.getpid())], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **known},
        )  # fmt: skip

    def ask(self, word: str, argument: Any) -> Json:
        """One answer; raises Failed if it is an error, does not come, or the process has died."""
        source, sink = self._process.stdout, self._process.stdin
        assert source  # noqa: S101 - both were asked for above
        assert sink  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            sink.write(json.dumps([word, argument]).encode() + b"\n")
            sink.flush()
        line, end = b"", time.monotonic() + TEST_S
        while not line.endswith(b"\n"):
            if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
                raise Failed("selftest", f"it does not answer within {TEST_S:g} s")
            if not (piece := os.read(source.fileno(), 1 << 16)):
                raise Failed("selftest", f"its process ended with status {self._process.wait()}")
            line += piece
        answer: Json = json.loads(line)
        if "error" in answer:
            raise Failed("selftest", answer["error"])
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def be_subject(place: Path, parent: int) -> None:
    """In a process of its own: load a version, and answer what is asked until stdin ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a runtime prints must not get into the answers
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: never outlive who asks
    session = None
    while os.getppid() == parent and (line := sys.stdin.readline()):
        word, argument = json.loads(line)
        try:
            session = session or open_session(place)
            said = golden(session, place, argument) if word == "golden" else timed(session, place, argument)
        except Exception as error:  # a runtime's exceptions share no base class
            said = {"error": printable(f"{type(error).__name__}: {error}")}
        write_all(answers, json.dumps(said).encode() + b"\n")


def arrays(path: Path) -> dict[str, Any]:
    """What an .npz holds; never objects, which would be code."""
    import numpy

    with numpy.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def golden(session: Any, place: Path, tolerance: Json) -> Json:
    """Compare a model's outputs with those that were promised.

    An output is right where |a - b| <= atol + rtol * |b|, b being what was promised; where atol is null only
    shape and type are compared.
    """
    import numpy

    inputs, wanted = arrays(place / "golden/inputs.npz"), arrays(place / "golden/outputs.npz")
    count = min(len(one) for one in wanted.values())
    worst, agreed, wrong = 0.0, 0, None
    for number in range(count):
        outputs = session.run({name: one[number] for name, one in inputs.items()})
        for name, all_of_it in wanted.items():
            want = all_of_it[number]
            have = numpy.asarray(outputs[name]) if name in outputs else None
            if have is None or have.shape != want.shape or have.dtype != want.dtype:
                got = "nothing" if have is None else f"{have.dtype}{list(have.shape)}"
                wrong = wrong or f"output {name} is {got} instead of {want.dtype}{list(want.shape)}"
                continue
            if (atol := tolerance["atol"].get(name, 0.0)) is None or have.dtype.kind not in "biuf":
                continue
            a, b = have.astype(float), want.astype(float)
            with numpy.errstate(invalid="ignore"):
                off = numpy.where((a == b) | (numpy.isnan(a) & numpy.isnan(b)), 0.0, numpy.abs(a - b))
            over = ~(off <= atol + tolerance["rtol"] * numpy.abs(b))
            worst = max(worst, float(numpy.nanmax(off, initial=0.0)))
            if over.any():
                wrong = (
                    wrong or f"sample {number} of {count}, output {name}, is off by {float(off[over][0]):.3g}"
                )
        first, name = next(iter(outputs.values())), next(iter(outputs))
        if name in wanted and numpy.ndim(first) and wanted[name][number].shape == numpy.shape(first):
            agreed += bool((numpy.argmax(first, -1) == numpy.argmax(wanted[name][number], -1)).all())
    least = tolerance.get("argmax_agreement")
    if least is not None and agreed < least * count:
        wrong = wrong or f"{agreed} of {count} samples have the promised class, {least:.1%} of them must"
    peak = 1024 * int((re.findall(r"VmHWM:\s+(\d+)", read("/proc/self/status")) or ["0"])[0])
    return {
        "samples": count,
        "wrong": wrong,
        "max_abs_error": worst,
        "agreed": agreed,
        "peak_rss_bytes": peak,
    }


def timed(session: Any, place: Path, seconds: float) -> Json:
    """Milliseconds of inferences for some time, at least one; the first is not counted."""
    feeds = {name: one[0] for name, one in arrays(place / "golden/inputs.npz").items()}
    session.run(feeds)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        before = time.perf_counter()
        session.run(feeds)
        found.append((time.perf_counter() - before) * 1e3)
    return {"ms": found}


# ---------------------------------------------------------------- commands


def obey(asked: argparse.Namespace) -> Json:
    """Do what a command asks for; its answer."""
    device = Device(Path(asked.root).absolute())
    if asked.command in ("status", "have", "boot", "watch"):
        return {"status": device.status, "have": device.have, "boot": device.boot, "watch": device.watch}[
            asked.command
        ]()
    device.prepare()
    if asked.command == "receive":  # not under the lock of an installation: nothing that serves changes
        with device.alone():
            return device.receive(asked.staging, Incoming(0))
    outlive_session()
    with device.alone():
        if asked.command == "trust":
            return device.trust(sys.stdin.buffer.read(LARGEST_METADATA + 1))
        if asked.command == "stage":
            return device.stage(*opening(sys.stdin.buffer.read(MOST_OPENING)))
        if asked.command == "install":
            return device.install_staged(asked.staging or unpacked(device, Path(asked.package)))
        if asked.command == "rollback":
            return device.rollback(asked.to, asked.leave)
        if asked.command == "unblock":
            return device.unblock(asked.counter)
        if asked.command == "gc":
            return device.collect(asked.keep or device.config["keep"])
        device.config["report"] = asked.report or device.config["report"]
        url = asked.url or device.config["repository"]
        if not url:
            raise Failed(
                "usage", "which repository?", f'pull URL, or "repository" in {device.root}/config.json'
            )
        try:
            return device.pull(url)
        finally:
            device.send_reports()


class Incoming:
    """What arrives over a connection that may be dead without anybody having said so."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._kept = descriptor, b""

    def readline(self, most: int) -> bytes:
        """A line; an unfinished one, or nothing, at the end."""
        while b"\n" not in self._kept and len(self._kept) < most and (piece := self._more()):
            self._kept += piece
        return self.read(min(most, self._kept.find(b"\n") + 1 or most)) if self._kept else b""

    def read(self, most: int) -> bytes:
        """Up to so many bytes; none at the end."""
        self._kept = self._kept or self._more()
        piece, self._kept = self._kept[:most], self._kept[most:]
        return piece

    def _more(self) -> bytes:
        """Who is silent for long is gone: a pulled cable is noticed by nobody who only listens."""
        is_ready = select.select([self._descriptor], [], [], SILENCE_S)[0]
        return os.read(self._descriptor, CHUNK) if is_ready else b""


SILENCE_S = 60.0
MOST_OPENING = 32 << 20


def opening(said: bytes) -> tuple[dict[str, bytes], bytes]:
    """What `stage` reads: the metadata files by name, and the manifest."""
    try:
        document = json.loads(said)
        metadata = {str(name): text.encode() for name, text in document["metadata"].items()}
        return metadata, document["manifest"].encode()
    except (ValueError, KeyError, AttributeError, TypeError):
        raise Failed("usage", "stage reads {metadata: {NAME: TEXT}, manifest: TEXT} from stdin") from None


def unpacked(device: Device, package: Path) -> str:
    """Stage a package file; errors name it."""
    if not package.is_file():
        raise Failed("usage", f"no such package: {package}")
    try:
        return device.unpack(package)
    except Failed as error:
        raise Failed(error.kind, f"{package.name}: {error}", error.hint, **error.facts) from None


def outlive_session() -> None:
    """Go on when whoever started this hangs up: what was begun ends, one way or the other."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.setsid()


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="edgeopt_field.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--root", default=os.environ.get("EDGEOPT_FIELD_ROOT") or ROOT, help=f"folder; {ROOT}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="install a package, or what was staged")
    which = install.add_mutually_exclusive_group(required=True)
    which.add_argument("package", nargs="?")
    which.add_argument("--from-staging", dest="staging", metavar="ID")
    back = commands.add_parser("rollback", help="go back to an earlier version")
    back.add_argument("--to", type=int, metavar="COUNTER")
    back.add_argument(
        "--from", type=int, dest="leave", metavar="COUNTER", help="do nothing unless this one serves"
    )
    for name, text in (
        ("status", "what serves, and what happened"), ("have", "hashes of the files that are here"),
        ("boot", "before the application starts: let something serve that works"),
        ("watch", "go on with a trial, send reports"), ("trust", "take the first root, from stdin"),
        ("stage", "accept a release's metadata, from stdin"),
    ):  # fmt: skip
        commands.add_parser(name, help=text).add_argument(
            "--json", action="store_true", help="as it always does"
        )
    commands.add_parser("receive", help="take files of a staged release, from stdin").add_argument("staging")
    commands.add_parser("unblock", help="let a release be tried again").add_argument("counter", type=int)
    commands.add_parser("gc", help="remove old versions").add_argument("--keep", type=int, metavar="N")
    pull = commands.add_parser("pull", help="install what a repository offers")
    pull.add_argument("url", nargs="?")
    pull.add_argument("--report", metavar="URL", help="where to tell what came of it")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Print a command's answer; returns its exit code."""
    if arguments[:1] == ["--subject"]:
        be_subject(Path(arguments[1]), int(arguments[2]))
        return 0
    asked = parsed(arguments)
    code, answer = 0, {}
    try:
        answer = obey(asked)
    except Failed as error:
        said = {"kind": error.kind, "message": printable(str(error)), "hint": error.hint}
        code, answer = error.code, {**error.facts, "error": said}
    except OSError as error:
        disk = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
        code, hint = (4, "see the device's storage") if disk else (1, "may this user write there?")
        said = {"kind": "disk" if disk else "host", "message": printable(str(error)), "hint": hint}
        answer = {"error": said}
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:  # signed, and makes no sense all the same
        said = {
            "kind": "host",
            "message": printable(f"{type(error).__name__}: {error}"),
            "hint": "report this",
        }
        code, answer = 1, {"error": said}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer), flush=True)
    return code


if __name__ == "__main__":
    status = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        os.close(1)
    os._exit(status)
