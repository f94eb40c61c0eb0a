"""A folder of files as samples: labels from class sub-folders or from `labels.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.data.fit import Array

Kind = Literal["images", "sounds"]

_KINDS: dict[str, Kind] = {
    ".wav": "sounds",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"), "images"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm"), "images"),
}


_Listed = tuple[list[Path], Array | None, Array | None, tuple[str, ...] | None]
"""Files, labels, groups and the names of the labels."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a folder, one per sample.

    Attributes:
        classes: The name of each label, where labels are the ids of names.
        stamp: Digest of names, sizes and times of change.
    """

    path: Path
    kind: Kind
    files: tuple[Path, ...]
    labels: Array | None
    groups: Array | None
    classes: tuple[str, ...] | None
    stamp: str


def read_folder(path: Path) -> Folder:
    """List the samples of a folder.

    `labels.csv` (`file,label[,group]`) says which files there are and in which order. Without it, each
    sub-folder is a class, its id the place of its name among the sorted names; a folder without
    sub-folders gives files without labels. Hidden files and files of other kinds are not samples.

    Raises:
        DataError: No samples, images and sounds mixed, files beside class folders, or a bad `labels.csv`.
    """
    table = path / "labels.csv"
    files, labels, groups, classes = _from_table(path, table) if table.is_file() else _from_classes(path)
    kinds = {kind for file in files if (kind := _kind(file))}
    if not kinds:
        raise DataError(f"{path} holds no images or WAV files", hint="class sub-folders, or labels.csv")
    if len(kinds) > 1:
        raise DataError(f"{path} holds images and WAV files: a data set is one or the other")
    stats = [(str(file.relative_to(path)), *_stat(file)) for file in files]
    labelled = None if labels is None else [str(label) for label in labels.tolist()]
    stamp = value_digest("folder", str(path), stats, labelled, None if groups is None else groups.tolist())
    return Folder(path, kinds.pop(), tuple(files), labels, groups, classes, stamp)


def _kind(file: Path) -> Kind | None:
    return _KINDS.get(file.suffix.lower())


def _stat(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _samples(folder: Path, pattern: str) -> list[Path]:
    found = (file for file in folder.glob(pattern) if _kind(file) and file.is_file())
    return sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(folder).parts))


def _from_classes(path: Path) -> _Listed:
    loose = _samples(path, "*")
    # An empty class folder counts: the ids of the others must not move.
    classes = tuple(sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")))
    by_class = [_samples(path / name, "**/*") for name in classes]
    if loose and any(by_class):
        raise DataError(f"{path}: {loose[0].name} lies beside class folders: which class is it?")
    if loose or not classes:
        return loose, None, None, None
    files = [file for members in by_class for file in members]
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in by_class])
    return files, labels.astype(np.int64), None, classes


def _from_table(path: Path, table: Path) -> _Listed:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {table}: {error}") from error
    if names not in (["file", "label"], ["file", "label", "group"]):
        raise DataError(f"{table}: the first line must be file,label or file,label,group")
    for number, row in enumerate(rows, start=2):
        if None in row or not all((row.get(name) or "").strip() for name in names):
            raise DataError(f"{table}, line {number}: it must have {len(names)} fields, none empty")
        if not (path / row["file"].strip()).is_file():
            raise DataError(f"{table}, line {number}: there is no file {row['file']!r}")
        if _kind(Path(row["file"].strip())) is None:
            raise DataError(f"{table}, line {number}: {row['file']!r} is neither an image nor a WAV file")
    files = [path / row["file"].strip() for row in rows]
    labels, classes = _read_labels([row["label"].strip() for row in rows])
    groups = np.array([row["group"].strip() for row in rows]) if "group" in names else None
    return files, labels, groups, classes


def _read_labels(words: list[str]) -> tuple[Array, tuple[str, ...] | None]:
    """Integers, else floats, else the ids of sorted names."""
    for dtype, convert in ((np.int64, int), (np.float64, float)):
        try:
            return np.array([convert(word) for word in words], dtype=dtype), None
        except (ValueError, OverflowError):
            continue
    classes = tuple(sorted(set(words)))
    ids = {name: index for index, name in enumerate(classes)}
    return np.array([ids[word] for word in words], dtype=np.int64), classes
