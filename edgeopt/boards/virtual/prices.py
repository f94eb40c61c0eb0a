"""What blocks of machine code cost on a core, in cycles, remembered from run to run.

Only the blocks that make up nearly all of what ran are priced; the rest, thousands that ran a few times, are
worth the mean price of an instruction. A price never changes, so it is kept by the block's hash, the core and
the version of what priced it: a second candidate pays only for the blocks that are new with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgeopt.boards import places
from edgeopt.boards.virtual import assembly, inorder
from edgeopt.core.errors import EdgeoptError

T = TypeVar("T")

HOT_SHARE = 0.995
"""Of the instructions that ran; they are in 25 to 440 blocks."""

IN_ORDER = "cortex-a53"
"""The core that edgeopt's own table prices; all others are LLVM's."""

MOST_INSTRUCTIONS = 4096
"""Longer sequences than any translated block: LLVM is never asked to schedule one."""

UNKNOWN_CYCLES = 1.0
"""Of an instruction in a block of which nothing at all is known; it is counted and reported."""

BUSY_TIMEOUT_S = 60.0
SCHEMA = """
create table if not exists prices (
    core text not null, block text not null, cycles real not null, unknown integer not null,
    primary key (core, block)
) without rowid
"""


@dataclass(frozen=True, slots=True)
class Price:
    """What one block costs.

    Attributes:
        cycles: For one run of it, when it follows itself and every load hits the first cache.
        unknown: Instructions in it that could not be decoded or have no known cost; each was charged the mean
            of the others.
    """

    cycles: float
    unknown: int


@dataclass(frozen=True, slots=True)
class Priced:
    """What was counted, priced.

    Attributes:
        prices: Of the hot blocks, by hash.
        per_instruction: Mean cycles of an instruction of the hot blocks: the price of all others.
        coverage: Share of the executed instructions that are in hot blocks.
        unknown: Share of the executed instructions whose cost is not known.
    """

    prices: Mapping[str, Price]
    per_instruction: float
    coverage: float
    unknown: float

    def cycles(self, blocks: Mapping[str, Sequence[int]], ran: Mapping[str, int]) -> float:
        """Cycles of what ran, by block."""
        total = 0.0
        for block, times in ran.items():
            price = self.prices.get(block)
            total += times * (price.cycles if price else self.per_instruction * len(blocks[block]))
        return total


def cache_file() -> Path:
    """Where prices are kept unless told otherwise."""
    return places.cache() / "virtual" / "prices.sqlite"


class PriceList:
    """Prices of blocks on one core."""

    def __init__(self, core: str, file: Path | None = None) -> None:
        """`core` is a name that LLVM knows (`-mcpu`); the cache is `cache_file()` unless told otherwise."""
        self.core = core
        self.file = file or cache_file()
        self._seen: dict[str, Price] = {}

    def price(self, blocks: Mapping[str, Sequence[int]], ran: Mapping[str, int]) -> Priced:
        """Price what ran; `blocks` has the instruction words of each block.

        Raises:
            BoardError: LLVM's tools are missing or fail.
            EdgeoptError: The cache cannot be written.
        """
        hot, total = _hot(blocks, ran)
        prices = self.of({block: blocks[block] for block in hot})
        executed = sum(ran[block] * len(blocks[block]) for block in hot)
        cycles = sum(ran[block] * prices[block].cycles for block in hot)
        unknown = sum(ran[block] * prices[block].unknown for block in hot)
        if not executed:
            return Priced({}, 0.0, 0.0, 0.0)
        return Priced(prices, cycles / executed, executed / total, unknown / total)

    def of(self, blocks: Mapping[str, Sequence[int]]) -> dict[str, Price]:
        """The price of each block, from the cache where it is known."""
        unseen = {block: words for block, words in blocks.items() if block not in self._seen}
        if unseen:
            self._seen |= self._remembered(unseen)
        new = {block: words for block, words in unseen.items() if block not in self._seen}
        if new:
            fresh = dict(zip(new, self._compute(list(new.values())), strict=True))
            self._remember(fresh)
            self._seen |= fresh
        return {block: self._seen[block] for block in blocks}

    def _compute(self, blocks: Sequence[Sequence[int]]) -> list[Price]:
        texts = assembly.disassemble([word for words in blocks for word in words])
        decoded: list[list[str]] = []
        at = 0
        for words in blocks:
            decoded.append([text for text in texts[at : at + len(words)] if text][:MOST_INSTRUCTIONS])
            at += len(words)
        if self.core == IN_ORDER:
            scheduled = [(inorder.cycles(block), len(block)) for block in decoded]
        else:
            scheduled = assembly.scheduled_cycles(decoded, self.core)
        prices = []
        for words, (cycles, known) in zip(blocks, scheduled, strict=True):
            each = cycles / known if known else UNKNOWN_CYCLES
            unknown = len(words) - known
            prices.append(Price(cycles + unknown * each if known else unknown * each, unknown))
        return prices

    @property
    def _key(self) -> str:
        revision = f"table {inorder.REVISION}" if self.core == IN_ORDER else f"{assembly.REVISION}"
        return f"{self.core}/LLVM {assembly.llvm_version(assembly.tool('llvm-mc'))}/{revision}"

    def _remembered(self, blocks: Iterable[str]) -> dict[str, Price]:
        key, wanted = self._key, set(blocks)

        def read(cache: sqlite3.Connection) -> dict[str, Price]:
            rows = cache.execute("select block, cycles, unknown from prices where core = ?", (key,))
            return {
                block: Price(float(cycles), int(unknown))
                for block, cycles, unknown in rows
                if block in wanted
            }

        return self._with_cache(read)

    def _remember(self, prices: Mapping[str, Price]) -> None:
        rows = [(self._key, block, price.cycles, price.unknown) for block, price in prices.items()]

        def write(cache: sqlite3.Connection) -> None:
            with cache:  # another process may have priced the same block meanwhile, to the same price
                cache.executemany("insert or replace into prices values (?, ?, ?, ?)", rows)

        self._with_cache(write)

    def _with_cache(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Use the cache; one that is damaged is thrown away and begun anew: it only saves time."""
        try:
            try:
                return self._attempt(use)
            except sqlite3.OperationalError:
                raise
            except (sqlite3.DatabaseError, TypeError, ValueError):
                self.file.unlink(missing_ok=True)
                return self._attempt(use)
        except (OSError, sqlite3.Error) as error:
            raise EdgeoptError(
                f"cannot use the cache of prices {self.file}: {error}",
                hint="make its folder writable, or delete it",
            ) from error

    def _attempt(self, use: Callable[[sqlite3.Connection], T]) -> T:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.file, timeout=BUSY_TIMEOUT_S)) as cache:
            cache.execute(SCHEMA)
            return use(cache)


def _hot(blocks: Mapping[str, Sequence[int]], ran: Mapping[str, int]) -> tuple[list[str], int]:
    """The fewest blocks that hold nearly all executed instructions, and how many were executed in all."""
    work = {block: times * len(blocks[block]) for block, times in ran.items()}
    total = sum(work.values())
    hot: list[str] = []
    covered = 0
    for block in sorted(work, key=lambda block: (-work[block], block)):
        if covered >= HOT_SHARE * total:
            break
        hot.append(block)
        covered += work[block]
    return hot, total
