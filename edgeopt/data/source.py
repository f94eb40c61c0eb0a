"""Opens data in whichever form it is given."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Dataset, Source, StreamedDataset
from edgeopt.data.fit import Array, element_type
from edgeopt.data.preprocess import Preprocess
from edgeopt.data.user_code import is_reference, load_function


def open_data(
    source: str,
    inputs: Sequence[TensorSpec],
    *,
    preprocess: Preprocess | None = None,
    fixed: Mapping[str, Array] | None = None,
    base: Path,
    digests: MutableMapping[str, str] | None = None,
) -> Dataset:
    """Open data, and read it through once to check every sample.

    Args:
        source: An `.npz` file, a folder of images or WAV files, or `module:function`.
        inputs: What the model takes; open sizes are settled by the data (`Dataset.shapes`).
        preprocess: For images and sounds. Arrays (`.npz`, generators) are fed as they are, unless it says
            `arrays`.
        fixed: Values of inputs that the data does not hold (`fixed.parse_fixed`).
        base: The project folder: relative paths and modules are looked up in it.
        digests: Remembers data sets that passed, so that an unchanged file is not read through again.

    Raises:
        ConfigError: No such file or module, an unknown form, or `fixed` names no input of the model.
        DataError: The data does not fit the model, or is damaged.
    """
    fixed = fixed or {}
    known = [spec.name for spec in inputs]
    for name in fixed:
        if name not in known:
            raise ConfigError(
                f"--fixed {name}: the model has no such input", hint=f"it has {', '.join(known)}"
            )
    for spec in inputs:
        element_type(spec)
    opened = _open(source, inputs, preprocess or Preprocess(), fixed, base)
    return StreamedDataset(opened, inputs, fixed, digests)


def _open(
    source: str, inputs: Sequence[TensorSpec], preprocess: Preprocess, fixed: Mapping[str, Array], base: Path
) -> Source:
    path = (base / Path(source).expanduser()).resolve()
    free = [spec for spec in inputs if spec.name not in fixed]
    if path.is_dir():
        return _open_folder(path, free, preprocess)
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise ConfigError(
                f"{path} is not data: an .npz file, a folder of images or WAV files, or module:function is"
            )
        from edgeopt.data.npz import Npz

        return Npz(path, inputs, preprocess)
    if is_reference(source):
        from edgeopt.data.generator import Generator

        return Generator(source, load_function(source, base), inputs, free, preprocess)
    raise ConfigError(f"there is no data at {path}", hint="an .npz file, a folder, or module:function")


def _open_folder(path: Path, free: Sequence[TensorSpec], preprocess: Preprocess) -> Source:
    from edgeopt.data.folder import read_folder

    folder = read_folder(path)
    if len(free) != 1:
        names = ", ".join(spec.name for spec in free) or "none"
        raise DataError(
            f"a folder of {folder.kind} feeds one input; the model's inputs that are not fixed: {names}",
            hint="give the others with --fixed NAME=VALUE|zeros, or use an .npz",
        )
    if folder.kind == "images":
        from edgeopt.data.images import Images

        return Images(folder, free[0], preprocess)
    from edgeopt.data.sounds import Sounds

    return Sounds(folder, free[0], preprocess)
