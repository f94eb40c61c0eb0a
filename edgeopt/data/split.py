"""Splits labelled data once into calibration, search and confirm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import ConfigError, DataError
from edgeopt.data.dataset import Dataset, Feeds, counted
from edgeopt.data.fit import Array

CALIBRATION_SHARE, CALIBRATION_MOST = 0.2, 256
CONFIRM_SHARE = 0.3


@dataclass(frozen=True)
class Part:
    """Some samples of a data set.

    Attributes:
        indices: `(k,)` int64, ascending, of the samples in `dataset`.
    """

    dataset: Dataset
    indices: Array

    def __len__(self) -> int:
        return len(self.indices)

    def samples(self) -> Iterator[Feeds]:
        """Each sample's inputs, in the order of `indices`."""
        # All samples are read straight through, which is faster where they are compressed.
        everything = len(self) == len(self.dataset)
        return self.dataset.samples(None if everything else self.indices)

    @property
    def labels(self) -> Array | None:
        return None if self.dataset.labels is None else self.dataset.labels[self.indices]

    @property
    def groups(self) -> Array | None:
        return None if self.dataset.groups is None else self.dataset.groups[self.indices]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data set's content and the indices."""
        return value_digest(self.dataset.digest, self.indices.tolist())

    def arrays(self) -> Columns:
        """The stored arrays by name, first axis = samples, each read when it is asked for."""
        return Columns(self)


class Columns(Mapping[str, Array]):
    """Arrays of a part (inputs, `labels`, `groups`, others of the file), each read once, when asked for."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._rows: Array | None = None
        self._known: dict[str, Array] = {}

    def of(self, rows: Array) -> Columns:
        """The same arrays for some rows of the part, repeats allowed."""
        chosen = Columns(self._part)
        chosen._known, chosen._rows = self._known, rows
        return chosen

    def __getitem__(self, name: str) -> Array:
        dataset = self._part.dataset
        if name not in dataset.columns():
            raise KeyError(f"the data has no array {name!r}; it has {', '.join(dataset.columns())}")
        if name not in self._known:
            self._known[name] = dataset.column(name, self._part.indices)
        column = self._known[name]
        return column if self._rows is None else column[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._part.dataset.columns())

    def __len__(self) -> int:
        return len(self._part.dataset.columns())


@dataclass(frozen=True, slots=True)
class Parts:
    """Calibration settles ranges, search ranks candidates, confirm judges the finalists and nothing else."""

    calibration: Part
    search: Part
    confirm: Part


def split(search: Dataset, calibration: Dataset | None, confirm: Dataset | None, seed: int) -> Parts:
    """Split off what is not given: 20 % (at most 256 samples) to calibrate, 30 % to confirm.

    Samples are drawn without replacement with `seed`; where the data has groups, whole groups are drawn.
    The same data and seed give the same parts.

    Raises:
        DataError: Too few samples or groups, or folders whose classes differ (their ids would too).
        ConfigError: The data to confirm is the data to search or to calibrate.
    """
    _check_distinct(search, calibration, confirm)
    for other in (calibration, confirm):
        _check_classes(search, other)
    n = len(search)
    shares = {}
    if calibration is None:
        shares["calibration"] = min(CALIBRATION_MOST, max(1, round(CALIBRATION_SHARE * n)))
    if confirm is None:
        shares["confirm"] = max(1, round(CONFIRM_SHARE * n))
    drawn = _drawn(search, shares, seed)
    return Parts(
        calibration=_whole(calibration) if calibration else Part(search, drawn["calibration"]),
        search=Part(search, drawn["search"]),
        confirm=_whole(confirm) if confirm else Part(search, drawn["confirm"]),
    )


def _drawn(dataset: Dataset, shares: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Indices of each share, and of `search`: the rest."""
    units = np.arange(len(dataset)) if dataset.groups is None else _group_numbers(dataset.groups)
    sizes = np.bincount(units)
    _check_enough(dataset, len(sizes), len(shares) + 1)
    order = np.random.default_rng(seed).permutation(len(sizes))
    owner = np.full(len(sizes), "search", dtype=object)
    start = 0
    for place, (part, wanted) in enumerate(shares.items()):
        after = len(shares) - place  # every part still to come needs at least one group
        stop = start + 1
        while stop < len(order) - after and sizes[order[start:stop]].sum() < wanted:
            stop += 1
        owner[order[start:stop]] = part
        start = stop
    return {part: np.flatnonzero(owner[units] == part) for part in (*shares, "search")}


def _group_numbers(groups: Array) -> Array:
    numbers: Array = np.unique(groups, return_inverse=True)[1]
    return numbers.reshape(-1)


def _whole(dataset: Dataset) -> Part:
    return Part(dataset, np.arange(len(dataset)))


def _check_enough(dataset: Dataset, units: int, parts: int) -> None:
    if units >= parts:
        return
    what = "sample" if dataset.groups is None else "group"
    raise DataError(
        f"{dataset.name} has {counted(units, what)}; {parts} parts need at least {parts}",
        hint="more data, or give --calibration and --confirm",
    )


def _check_distinct(search: Dataset, calibration: Dataset | None, confirm: Dataset | None) -> None:
    if confirm is None:
        if calibration is not None and calibration.digest == search.digest:
            raise ConfigError(
                "--calibration is the same data as --data, of which 30 % is kept to confirm",
                hint="leave --calibration out, and 20 % is kept for it; or give --confirm too",
            )
        return
    if calibration is not None and confirm.digest == calibration.digest:
        raise ConfigError(
            "--confirm is the same data as --calibration: ranges would be settled by what judges them",
            hint="leave one of them out, and it is split off --data",
        )
    if confirm.digest == search.digest:
        raise ConfigError(
            "--confirm is the same data as --data: nothing would be confirmed",
            hint="leave --confirm out, and 30 % is kept for it",
        )


def _check_classes(search: Dataset, other: Dataset | None) -> None:
    if other is None or search.classes is None or other.classes is None:
        return
    if search.classes != other.classes:
        missing = sorted(set(search.classes) ^ set(other.classes))
        raise DataError(
            f"{search.name} and {other.name} differ in their classes ({', '.join(missing[:5])}): "
            "the same label would mean another class",
            hint="an empty folder stands for a class without samples",
        )
