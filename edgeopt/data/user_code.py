"""Loads what a user names as `module:function`."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeopt.core.errors import ConfigError

_modules: dict[str, dict[str, ModuleType]] = {}
"""By project folder, what was imported from it: two projects may each have a module of the same name."""

_present: dict[str, frozenset[str]] = {}
"""By project folder, the top-level modules that were there before anything of it: edgeopt may be one."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_reference(text: str) -> bool:
    """True if `text` has the form `module:function`."""
    return _REFERENCE.fullmatch(text) is not None


def load_function(reference: str, base: Path) -> Callable[..., Any]:
    """Import `module:function`, looking into the project folder `base` first.

    Modules of other projects that were loaded before do not stand in for those of this one. What a function
    imports when it is called is looked for in the project that was loaded last.

    Raises:
        ConfigError: The module cannot be imported, has no such function, or hides behind another one that
            is imported already.
    """
    module_name, _, name = reference.partition(":")
    folder = str(base.resolve())
    _enter(folder)
    _refuse_hidden(_top(module_name), Path(folder), reference)
    before = set(sys.modules)
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
        new = {one for one in set(sys.modules) - before if _is_in(sys.modules.get(_top(one)), Path(folder))}
        _modules.setdefault(folder, {}).update({one: sys.modules[one] for one in new})
        # The function may import its neighbours later; at the end of the path they can shadow nothing.
        others = [path for path in sys.path if path not in _modules]
        sys.path[:] = [*others, folder, *(p for p in sys.path if p in _modules and p != folder)]
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"the module {module_name!r} has no function {name!r}")
    return function  # type: ignore[no-any-return]  # whatever the user defined


def _enter(folder: str) -> None:
    """Let the modules of one project be those that imports find, and no other project's: neither what was
    imported with a function nor what a function has imported since."""
    _present.setdefault(folder, frozenset(map(_top, sys.modules)))
    for name, module in list(sys.modules.items()):
        for place in _places(sys.modules.get(_top(name))):
            other = os.path.dirname(place)  # noqa: PTH120 - of thousands
            if other != folder and other in _modules and _top(name) not in _present[other]:
                _modules[other][name] = module
    for other, known in _modules.items():
        for name, module in known.items():
            if other != folder and sys.modules.get(name) is module:
                del sys.modules[name]
    sys.modules.update(_modules.get(folder, {}))


def _refuse_hidden(top: str, folder: Path, reference: str) -> None:
    """Raises: ConfigError: The project has a module `top`, but another of that name is imported already."""
    has_it = (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()
    if top in sys.modules and has_it and not _is_in(sys.modules[top], folder):
        raise ConfigError(
            f"{reference!r} means {top!r} in {folder}, but another module of that name is imported already",
            hint="give yours a name that no installed package has",
        )


def _top(module_name: str) -> str:
    return module_name.partition(".")[0]


def _is_in(module: ModuleType | None, folder: Path) -> bool:
    """Whether a top-level module lies directly in a folder: packages may be installed further down."""
    return any(Path(place).resolve().parent == folder for place in _places(module))


def _places(module: ModuleType | None) -> list[str]:
    """Its file, and the folders of a package."""
    places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
    return [place for place in places if place]
