"""What every power meter must do: run it on a module of `edgeopt.boards.meters` (or of a plugin).

    for check in meters.CHECKS:
        check(module, tmp_path)

An example's `files` is a tree from which the meter's reader really reads: a text, or `-> TARGET` for a link;
what is in its `bin/` becomes a program in PATH, and stands for the board's own.
"""

from __future__ import annotations

import ast
import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import get_args

from edgeopt.boards.metering.sampling import source_of
from edgeopt.boards.meters import EnergySource, Example, Reading, Recording

TOLERANCE_W = 1e-4


def check_card(module: ModuleType, folder: Path) -> None:
    """It says what it is: a source, an error between 0 and a half, a pace, and examples with their origin."""
    del folder
    _require(module.SOURCE in get_args(EnergySource), f"SOURCE {module.SOURCE!r} is unknown")
    _require(0 < module.ERROR_SHARE <= 0.5, "ERROR_SHARE is not a share")
    _require(
        0.01 <= module.INTERVAL_S <= 0.1, "INTERVAL_S: 10 s must hold 100 samples, and leave the board alone"
    )
    _require(len(module.EXAMPLES) > 0, "EXAMPLES is empty")
    for example in module.EXAMPLES:
        _require(bool(example.origin), f"{example.name} does not say where its format is from")
        used = {k for k, v in asdict(example.settings).items() if v is not None} & set(_USERS_KEYS)
        _require(used <= module.KEYS, f"{example.name} uses settings that KEYS does not name: {used}")


def check_examples(module: ModuleType, folder: Path) -> None:
    """Recordings become the samples that they should, and readings that are not whole are left out."""
    del folder
    for example in module.EXAMPLES:
        module.check(example.settings)
        got = module.parse(example.recording, example.settings)
        _require(len(got) == len(example.samples), f"{example.name}: {len(got)} samples: {got}")
        for one, expected in zip(got, example.samples, strict=True):
            near = math.isclose(one.t_s, expected.t_s, abs_tol=1e-6)
            _require(
                near and abs(one.power_w - expected.power_w) < TOLERANCE_W,
                f"{example.name}: {one}, {expected}",
            )


def check_damage(module: ModuleType, folder: Path) -> None:
    """Cut, doubled and scrambled readings raise nothing, and no sample is not a number."""
    del folder
    random_ = random.Random(0)  # noqa: S311  (not for secrets)
    for example in module.EXAMPLES:
        for _ in range(200):
            damaged = tuple(_damaged(reading, random_) for reading in example.recording.readings)
            for sample in module.parse(replace(example.recording, readings=damaged), example.settings):
                _require(
                    math.isfinite(sample.power_w) and math.isfinite(sample.t_s), f"{example.name}: {sample}"
                )
        _require(
            module.parse(Recording(example.recording.header, ()), example.settings) == [],
            "samples of nothing",
        )


def check_reader(module: ModuleType, folder: Path) -> None:
    """Its reader, as it is sent to a board, reads a real file tree: Python 3.9, nothing from outside."""
    ast.parse(source_of(module), feature_version=(3, 9))
    with_files = [example for example in module.EXAMPLES if example.files]
    _require(bool(with_files), "no example has files to read from")
    for example in with_files:
        root = folder / example.name
        lay_out(example, root)
        names: dict[str, object] = {}
        exec(source_of(module), names)  # noqa: S102  (what a board does)
        with _first_in_path(root / "bin"):
            header, read = names["reader"](asdict(example.settings) | {"root": str(root)})  # type: ignore[operator]
            first = read()
        parsed = module.parse(Recording(header, example.recording.readings), example.settings)
        _require(
            parsed == module.parse(example.recording, example.settings), f"{example.name}: header {header}"
        )
        _require(isinstance(first, str), f"{example.name}: it read {first!r}")
        texts = [reading.text for reading in example.recording.readings]
        _require(first in (*texts, ""), f"{example.name}: it read {first!r}")


def check_absence(module: ModuleType, folder: Path) -> None:
    """A meter that is not there is an error in words, when it is opened or read."""
    empty = folder / "empty"
    empty.mkdir()
    for example in module.EXAMPLES:
        with _only_in_path(empty):
            try:
                module.reader(asdict(example.settings) | {"root": str(empty)})[1]()
            except OSError as error:
                _require(bool(str(error)), "an error without words")
            else:
                raise AssertionError(f"{example.name}: nothing was read, and nobody said so")


CHECKS = (check_card, check_examples, check_damage, check_reader, check_absence)

_USERS_KEYS = ("address", "shunt_ohm", "channel", "volts")


def lay_out(example: Example, root: Path) -> None:
    """Make an example's file tree."""
    for name, text in example.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
        if path.parent.name == "bin":
            path.chmod(0o755)


def _damaged(reading: Reading, random_: random.Random) -> Reading:
    text = reading.text
    at = random_.randrange(len(text) + 1)
    how = random_.choice(("cut", "double", "scramble", "keep"))
    if how == "cut":
        text = text[:at]
    elif how == "double":
        text = text + text[at:]
    elif how == "scramble":
        text = text[:at] + random_.choice("x\0 -.,e9\n") + text[at + 1 :]
    return Reading(reading.t_s, text)


@contextmanager
def _first_in_path(folder: Path) -> Iterator[None]:
    with _only_in_path(folder, os.environ["PATH"]):
        yield


@contextmanager
def _only_in_path(folder: Path, *rest: str) -> Iterator[None]:
    before = os.environ["PATH"]
    os.environ["PATH"] = os.pathsep.join([str(folder), *rest])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
