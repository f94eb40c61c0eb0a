"""Where the files that ship beside the code are: in the wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

from edgeopt.core.errors import ConfigError

_INSTALLED = Path(__file__).parent / "_data"
_CHECKOUT = Path(__file__).parent.parent


def resource(relative: str) -> Path:
    """The path of a shipped file or folder (`device_profiles`, `firmware_scripts/edgeopt_runner.py`).

    Raises:
        ConfigError: It is in neither place: the installation is broken.
    """
    for root in (_INSTALLED, _CHECKOUT):
        if (root / relative).exists():
            return root / relative
    raise ConfigError(f"this installation lacks {relative}", hint="install edgeopt again")
