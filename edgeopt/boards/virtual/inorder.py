"""Cycles of a block on the Cortex-A53, a dual-issue core that executes in order.

LLVM's entry for this core overstates multiply-add chains (each waits for the whole latency of the one before,
where the core forwards the accumulator) and knows nothing of which instructions may pair.

What is modelled: two issue slots, the second only with the first; one load/store address a cycle, 64 bits of
data loaded, 128 stored; two 64-bit halves of the vector unit, of which 128-bit operations occupy both;
multiply-adds that multiply, then add four cycles later, where they need the adder and the accumulator; early
addresses, late store data.

Source: GCC's `config/arm/cortex-a53.md`, contributed by Arm Ltd. (slots, units, latencies, forwarding);
ncnn's developer guide "arm a53 a55 dual issue", measured (vector loads against multiply-adds, inserts).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from edgeopt.boards.virtual.operands import FLOAT_MAC, INTEGER_MAC, Operation

REVISION = 1
"""Part of the key of cached prices: changes with anything below."""

WARM_ITERATIONS, ITERATIONS = 4, 12
SLOTS = 2
HALVES = 2
LOAD_PATH_BYTES, STORE_PATH_BYTES = 8, 16

ALU_LATENCY = 1
SHIFTED_LATENCY = 2
MULTIPLY_LATENCY = 3
DIVIDE_LATENCY = 8
LOAD_LATENCY = 2
VECTOR_LATENCY = 4
VECTOR_LOAD_LATENCY = 3
FULL_LOAD_LATENCY = 4
TO_GENERAL_LATENCY = 4
FLOAT_DIVIDE_LATENCY, FLOAT_DIVIDE_BUSY = 14, 10
ADDER_DELAY = 4
"""Cycles from a float multiply-add's issue to its addition."""
INTEGER_MAC_DELAY = 3
ADDRESS_LEAD = 1
"""An address is formed in the issue stage: its registers are needed so much earlier."""
STORE_SLACK = 1
"""Integer data may arrive so much later than the store issues."""

SHIFTED = re.compile(r"(?:lsl|lsr|asr|ror|[us]xt[bhwx]) #?\d*$|[us]xtw$")
SLOW_INTEGER = re.compile(r"mul|[us]mulh|madd|msub|mneg|[us]m(?:add|sub)l|[us]mull")
DIVIDE = re.compile(r"[us]div")
FLOAT_DIVIDE = re.compile(r"fdiv|fsqrt")


class _Machine:
    """The state of the core: when each register is ready, what each cycle has left."""

    def __init__(self) -> None:
        self.now = 0
        self.issued = 0
        self.ready: dict[str, int] = defaultdict(int)
        self.multiplier: dict[int, int] = defaultdict(int)
        self.adder: dict[int, int] = defaultdict(int)
        self.load_store_free = 0
        self.divider_free = 0

    def run(self, operation: Operation, shifted: bool) -> None:
        """Issue one operation as early as it can."""
        halves = HALVES if operation.is_full else 1
        float_mac = bool(FLOAT_MAC.match(operation.name))
        mac_delay = ADDER_DELAY if float_mac else INTEGER_MAC_DELAY
        late_reads = STORE_SLACK if operation.is_store and not operation.is_vector else 0
        earliest = max(
            self.now,
            *(self.ready[one] - late_reads for one in operation.reads),
            *(self.ready[one] + ADDRESS_LEAD for one in operation.address),
            # An operation may add to what arrives while it multiplies.
            *(self.ready[one] - mac_delay for one in operation.accumulator),
        ) if operation.reads or operation.address or operation.accumulator else self.now  # fmt: skip
        if operation.memory_bytes or operation.address:
            earliest = max(earliest, self.load_store_free)
        if DIVIDE.match(operation.name) or FLOAT_DIVIDE.match(operation.name):
            earliest = max(earliest, self.divider_free)
        at = self._advance(earliest)
        width = LOAD_PATH_BYTES if operation.is_load else STORE_PATH_BYTES
        beats = max(1, -(-operation.memory_bytes // width))
        alone = operation.is_load and beats > 1
        while True:
            at = self._slot(at, first_only=alone or (operation.is_vector and halves == HALVES and beats == 1))
            if not operation.is_vector or self._vector_free(operation, at, min(halves, HALVES), float_mac):
                break
            at += 1
        self._occupy(operation, at, halves, float_mac, beats, alone)
        self._finish(operation, at, shifted, float_mac, beats)

    def _advance(self, at: int) -> int:
        if at > self.now:
            self.now, self.issued = at, 0
        return self.now

    def _slot(self, at: int, first_only: bool) -> int:
        """The first cycle from `at` on with a slot left."""
        if at == self.now and (self.issued >= SLOTS or (first_only and self.issued)):
            at += 1
        if at > self.now:
            self.now, self.issued = at, 0
        return at

    def _vector_free(self, operation: Operation, at: int, halves: int, float_mac: bool) -> bool:
        if operation.is_store:
            return True
        if operation.is_load or operation.name in ("ins", "mov", "fmov", "dup"):
            # The register file's port, shared with both pipes.
            need = 1
            return self.multiplier[at] + need <= HALVES and self.adder[at] + need <= HALVES
        if float_mac or _multiplies(operation.name):
            return self.multiplier[at] + halves <= HALVES
        return self.adder[at] + halves <= HALVES

    def _occupy(
        self, operation: Operation, at: int, halves: int, float_mac: bool, beats: int, alone: bool
    ) -> None:
        self.now = at
        self.issued += 1
        if operation.memory_bytes:
            self.load_store_free = at + beats
        if alone:
            # The slots of all but the last beat are lost too.
            self.now, self.issued = at + beats - 1, SLOTS
        if operation.is_branch:
            self.issued = SLOTS
        if not operation.is_vector or operation.is_store:
            return
        if operation.is_load:
            for beat in range(beats):
                self.multiplier[at + beat] += 1
                self.adder[at + beat] += 1
        elif float_mac:
            self.multiplier[at] += halves
            self.adder[at + ADDER_DELAY] += halves
        elif _multiplies(operation.name):
            self.multiplier[at] += halves
        else:
            self.adder[at] += halves

    def _finish(self, operation: Operation, at: int, shifted: bool, float_mac: bool, beats: int) -> None:
        name = operation.name
        if operation.is_load and operation.is_vector:
            latency = (VECTOR_LOAD_LATENCY if beats == 1 else FULL_LOAD_LATENCY) + max(0, beats - 2)
        elif operation.is_load:
            latency = LOAD_LATENCY + beats - 1
        elif FLOAT_DIVIDE.match(name):
            latency = FLOAT_DIVIDE_LATENCY
            self.divider_free = at + FLOAT_DIVIDE_BUSY
        elif DIVIDE.match(name):
            latency = DIVIDE_LATENCY
            self.divider_free = at + DIVIDE_LATENCY
        elif float_mac:
            latency = VECTOR_LATENCY + ADDER_DELAY
        elif operation.is_vector:
            to_general = any(one.startswith("r") for one in operation.writes)
            latency = TO_GENERAL_LATENCY if to_general else VECTOR_LATENCY
        elif SLOW_INTEGER.match(name):
            latency = MULTIPLY_LATENCY
        else:
            latency = SHIFTED_LATENCY if shifted else ALU_LATENCY
        for register in operation.writes:
            # An address's write-back is ready for the next address at once.
            self.ready[register] = at + (0 if register == operation.base else latency)


def cycles(block: Sequence[str]) -> float:
    """Cycles of a block that is followed by itself, every load hitting the first cache."""
    operations = [(Operation.parse(text), bool(SHIFTED.search(text.strip()))) for text in block]
    machine, marks = _Machine(), []
    for _ in range(ITERATIONS):
        for operation, shifted in operations:
            machine.run(operation, shifted)
        marks.append(machine.now)
    return (marks[-1] - marks[WARM_ITERATIONS - 1]) / (ITERATIONS - WARM_ITERATIONS)


def _multiplies(name: str) -> bool:
    return bool(INTEGER_MAC.match(name)) or "mul" in name
