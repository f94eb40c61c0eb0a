"""Loads what a user names as `module:function`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeopt.core.errors import ConfigError

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_reference(text: str) -> bool:
    """True if `text` has the form `module:function`."""
    return _REFERENCE.fullmatch(text) is not None


def load_function(reference: str, base: Path) -> Callable[..., Any]:
    """Import `module:function`, looking into the project folder `base` first.

    Raises:
        ConfigError: The module cannot be imported, or has no such function.
    """
    module_name, _, name = reference.partition(":")
    folder = str(base.resolve())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    # The user's own code runs here: whatever it raises is the reason why it cannot be imported.
    except Exception as error:
        raise ConfigError(
            f"cannot import {module_name!r} of {reference!r}: {type(error).__name__}: {error}",
            hint=f"looked in {folder} and in the installed packages",
        ) from error
    finally:
        sys.path.remove(folder)
    # The function may import its neighbours later; at the end of the path they can shadow nothing.
    if folder not in sys.path:
        sys.path.append(folder)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"the module {module_name!r} has no function {name!r}")
    return function  # type: ignore[no-any-return]  # whatever the user defined
