"""LLVM's tools on blocks of arm64 machine code: words to text, text to cycles on one of its core models."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from functools import cache

from edgeopt.boards.virtual import tools
from edgeopt.core.errors import BoardError

REVISION = 1
"""Part of the key of cached prices: changes with how blocks are put to LLVM."""

DEADLINE_S = 300
WARM_ITERATIONS, ITERATIONS = 10, 40
"""A block is run so often in a row; the cycles from the 11th to the 40th run are its steady state."""

INVALID = re.compile(r"^<stdin>:(\d+):\d+: warning: invalid instruction encoding", re.MULTILINE)
STORE_POST = re.compile(r"^(st\w+\s+.*\[(\w+)\]), (#?-?\w+)$")
STORE_PRE = re.compile(r"^(st\w+\s+.*)\[(\w+), (#-?\w+)\]!$")


def tool(name: str) -> str:
    """The path of `llvm-mc` or `llvm-mca` that is new enough.

    Raises:
        BoardError: There is none on this machine.
    """
    if path := tools.llvm(name):
        return str(path)
    package = f"llvm-{tools.LEAST_LLVM}"
    raise BoardError(
        f"{name} of LLVM {tools.LEAST_LLVM} or later is missing: it prices what a virtual board executes",
        hint=f"sudo apt-get install -y --no-install-recommends {package}",
    )


@cache
def llvm_version(path: str) -> str:
    """Of one of the tools, such as `19.1.7`."""
    found = re.search(r"LLVM version (\d+(?:\.\d+)*)", _run([path, "--version"], "").stdout)
    return found.group(1) if found else "0"


def disassemble(words: Sequence[int]) -> list[str | None]:
    """The text of each instruction word; None for what is no instruction."""
    lines = (" ".join(f"0x{byte:02x}" for byte in word.to_bytes(4, "little")) for word in words)
    done = _run(
        [tool("llvm-mc"), "--disassemble", "--triple=aarch64", "--mattr=+all"], "\n".join(lines) + "\n"
    )
    invalid = {int(number) - 1 for number in INVALID.findall(done.stderr)}
    texts = iter(
        line.strip()
        for line in done.stdout.splitlines()
        if line.strip() and not line.lstrip().startswith(".")
    )
    found = [None if at in invalid else next(texts, None) for at in range(len(words))]
    if next(texts, None) is not None:
        raise BoardError(f"{tool('llvm-mc')} and edgeopt disagree on how many instructions there are")
    return found


def scheduled_cycles(blocks: Sequence[Sequence[str]], core: str) -> list[tuple[float, int]]:
    """Cycles of each block in its steady state on one of LLVM's cores, and how many instructions it knew.

    A block is followed by itself, and every load hits the first cache.
    """
    source = []
    for number, block in enumerate(blocks):
        body = [line for text in block for line in _without_write_back(text)]
        source += [f"# LLVM-MCA-BEGIN {number}", *body, "# LLVM-MCA-END"]
    text = "\n".join(source) + "\n"
    warm, whole = (_summaries(text, core, runs) for runs in (WARM_ITERATIONS, ITERATIONS))
    runs = ITERATIONS - WARM_ITERATIONS
    prices = []
    for number, block in enumerate(blocks):
        before, after = warm.get(str(number)), whole.get(str(number))
        if before is None or after is None:
            prices.append((0.0, 0))
            continue
        added = sum(len(_without_write_back(one)) - 1 for one in block)
        known = after["Instructions"] // ITERATIONS - added
        prices.append(((after["TotalCycles"] - before["TotalCycles"]) / runs, known))
    return prices


def _summaries(source: str, core: str, iterations: int) -> dict[str, dict[str, int]]:
    options = ["--json", "--instruction-info=false", "--resource-pressure=false"]
    done = _run(
        [
            tool("llvm-mca"), "--mtriple=aarch64", f"--mcpu={core}", "--mattr=+all", *options,
            "--skip-unsupported-instructions=any", f"--iterations={iterations}",
        ],
        source,
    )  # fmt: skip
    try:
        regions = json.loads(done.stdout)["CodeRegions"]
        return {region["Name"]: region["SummaryView"] for region in regions}
    except (ValueError, KeyError, TypeError) as error:
        reason = next(iter(done.stderr.splitlines()), "no answer")
        raise BoardError(f"{tool('llvm-mca')} cannot price blocks on {core}: {reason}") from error


def _without_write_back(text: str) -> tuple[str, ...]:
    """A store that moves its base, as the two operations that cores make of it.

    LLVM's models have it move the base only once the *data* is there, which chains loops that no core chains.
    """
    text = text.replace("\t", " ")
    if after := STORE_POST.match(text):
        store, base, step = after.groups()
        return store, f"add {base}, {base}, {step}"
    if before := STORE_PRE.match(text):
        store, base, step = before.groups()
        return f"add {base}, {base}, {step}", f"{store}[{base}]"
    return (text,)


def _run(command: list[str], text: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BoardError(f"{command[0]} cannot run: {error}") from error
