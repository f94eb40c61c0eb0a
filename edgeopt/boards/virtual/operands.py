"""Which registers one line of arm64 assembly reads and writes, and how wide its vectors are."""

from __future__ import annotations

import re
from dataclasses import dataclass

REGISTER = re.compile(r"\b(?:([xw])(\d+)|([vqdshb])(\d+)(?!\w)|(sp|wsp))\b")
LANE = re.compile(r"^v\d+\.[bhsd]\[")
BRACKETED = re.compile(r"\[([^\]]*)\]\s*$|\[([^\]]*)\](!|,)")
FULL_VECTOR = re.compile(r"\bq\d+|\.(?:16b|8h|4s|2d)\b")
BYTES = {"q": 16, "d": 8, "s": 4, "h": 2, "b": 1, "x": 8, "w": 4}

NO_RESULT = re.compile(
    r"st|cmp|cmn|tst|ccm|fcmp|fccmp|b$|b\.|br$|cbz|cbnz|tbz|tbnz|ret|nop|hint|prf|dmb|dsb|isb|svc|msr|dc$|ic$|bti"
)
SETS_FLAGS = re.compile(r"adds|subs|ands|bics|negs|adcs|sbcs|cmp|cmn|tst|ccm|fcmp|fccmp")
READS_FLAGS = re.compile(r"b\.|cs(?:el|et|inc|inv|neg)|cinc|cinv|cneg|ccm|adc|sbc|fcsel|fccmp")
FLOAT_MAC = re.compile(r"fml[as]|fn?m(?:add|sub)$|fcmla")
INTEGER_MAC = re.compile(
    r"ml[as]$|[su]ml[as]l|sqdml[as]l|[us]dot|usdot|sq?rdml[as]h|madd$|msub$|[su]maddl|[su]msubl"
)
READS_TARGET = re.compile(
    r"[su]abal?2?$|[su]adalp|[us]r?sra|bsl|bit$|bif$|sli$|sri$|tbx|movk|bfi|bfxil|bfm|ins$"
    r"|(?:xtn|sqxtn|uqxtn|sqxtun|shrn|rshrn|sqr?shrn|sqr?shrun|uqr?shrn|fcvtn|addhn|raddhn)2$"
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One instruction, as far as a pipeline cares.

    Attributes:
        name: The mnemonic.
        reads: Registers needed to begin, without those below.
        address: Registers that form a memory address.
        accumulator: Registers that are added to, which some pipelines need late.
        writes: Registers that it produces.
        base: The register that an address write-back moves; it is among `address`.
        is_vector: It uses the floating-point and vector unit.
        is_full: It works on 128 bits.
        memory_bytes: Bytes moved to or from memory; 0 where none.
    """

    name: str
    reads: tuple[str, ...]
    address: tuple[str, ...]
    accumulator: tuple[str, ...]
    writes: tuple[str, ...]
    base: str | None
    is_vector: bool
    is_full: bool
    memory_bytes: int

    @property
    def is_load(self) -> bool:
        return self.name.startswith("ld")

    @property
    def is_store(self) -> bool:
        return self.name.startswith("st")

    @property
    def is_branch(self) -> bool:
        return (
            self.name.startswith(("b.", "cbz", "cbnz", "tbz", "tbnz", "ret", "br", "bl")) or self.name == "b"
        )

    @classmethod
    def parse(cls, text: str) -> Operation:
        """Read one line as `llvm-mc --disassemble` writes it."""
        name, _, rest = text.replace("\t", " ").strip().partition(" ")
        address: tuple[str, ...] = ()
        base = None
        before = rest
        is_memory = name.startswith(("ld", "st", "prf"))
        if is_memory and (found := re.search(r"(?<![\w}\]])\[([^\]]*)\](!?)(.*)$", rest)):
            before = rest[: found.start()]
            address = _registers(found.group(1) + found.group(3))
            base = address[0] if address and (found.group(2) or found.group(3).strip(", ")) else None
        listed = _registers(before)
        results = 0 if NO_RESULT.match(name) else 1
        if name.startswith("ld"):
            results = (
                len(listed)
                if "{" in before
                else 2
                if name.startswith(("ldp", "ldnp", "ldxp", "ldaxp"))
                else 1
            )
        writes, reads = list(listed[:results]), list(listed[results:])
        accumulator: tuple[str, ...] = ()
        if FLOAT_MAC.match(name) or INTEGER_MAC.match(name):
            # fmadd d, n, m, a names the accumulator last; fmla adds to its target.
            adds_last = re.match(r"f?n?m(?:add|sub)$|[su]m(?:add|sub)l$", name) and len(listed) > 3
            accumulator = (reads.pop(),) if adds_last else tuple(writes)
        elif READS_TARGET.match(name) or (results and LANE.match(before.lstrip("{ "))) or "}[" in before:
            reads += writes
        if SETS_FLAGS.match(name):
            writes.append("flags")
        if READS_FLAGS.match(name):
            reads.append("flags")
        if name in ("bl", "blr"):
            writes = ["r30"]
            reads = list(listed)
        if base:
            writes.append(base)
        vectors = any(register.startswith("v") for register in listed)
        return cls(
            name, tuple(reads), address, accumulator, tuple(writes), base, vectors,
            bool(FULL_VECTOR.search(before)), _bytes(name, before) if is_memory else 0,
        )  # fmt: skip


def _registers(text: str) -> tuple[str, ...]:
    """Canonical names in order of appearance; a range `{ v0.4s - v3.4s }` is written out."""
    if span := re.search(r"v(\d+)(\.\w+)\s*-\s*v(\d+)\.", text):
        first, shape, last = int(span.group(1)), span.group(2), int(span.group(3))
        count = (last - first) % 32 + 1
        text = text[: span.start()] + ", ".join(f"v{(first + at) % 32}{shape}" for at in range(count)) + ", "
    return tuple(
        "sp" if stack else f"r{general}" if general else f"v{vector}"
        for _, general, _, vector, stack in REGISTER.findall(text)
    )


def _bytes(name: str, registers: str) -> int:
    if name.startswith("prf"):
        return 0
    if "{" in registers:
        count = len(_registers(registers))
        if lane := re.search(r"\.([bhsd])\s*}\[", registers):
            return count * BYTES[lane.group(1)]
        return count * (16 if FULL_VECTOR.search(registers) else 8)
    if name.endswith("b"):
        return 1
    if name.endswith("h"):
        return 2
    kinds = [general or vector for general, _, vector, _, _ in REGISTER.findall(registers)]
    return sum(BYTES[kind or "x"] for kind in (kinds if "p" in name[:4] else kinds[:1])) or 8
