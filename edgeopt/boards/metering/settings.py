"""`[board.NAME.meter]` of boards.toml.

[board.kitchen-pi.meter]
kind = "hwmon"                # a file of edgeopt/boards/meters
host = "ssh://lab@10.0.0.9"   # or the name of a board; left out: it hangs on the board itself
address = "1-0040"
shunt_ohm = 0.1
"""

from __future__ import annotations

from typing import Any

from edgeopt.boards.meters import Settings
from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile

TEXT, NUMBER = ("kind", "host", "address"), ("volts",)


def of_table(table: Any, where: str) -> Settings:
    """Read and check one.

    Args:
        where: File and board, for messages.

    Raises:
        ConfigError: An unknown kind or key, a value of the wrong type, or what the meter itself refuses.
    """
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise ConfigError(
            f"{where}: a meter needs its kind", hint=f"kind is one of {', '.join(plugins.names('meters'))}"
        )
    module = plugins.load("meters", table["kind"])
    if unknown := sorted(table.keys() - module.KEYS - {"kind", "host"}):
        known = ", ".join(["kind", "host", *sorted(module.KEYS)])
        raise ConfigError(f"{where}: a {table['kind']} meter has no {unknown[0]}", hint=f"it knows {known}")
    for key in TEXT:
        if not isinstance(table.get(key, ""), str):
            raise ConfigError(f"{where}: the meter's {key} must be text")
    for key in NUMBER:
        if key in table and not _positive(table[key]):
            raise ConfigError(f"{where}: the meter's {key} must be a positive number")
    shunt_ohm = table.get("shunt_ohm")
    if shunt_ohm not in (None, "kernel") and not _positive(shunt_ohm):
        raise ConfigError(
            f"{where}: the meter's shunt_ohm must be a resistance in ohms", hint='0.1, 0.01, or "kernel"'
        )
    settings = Settings(
        kind=table["kind"],
        host=table.get("host"),
        address=table.get("address"),
        shunt_ohm=shunt_ohm if shunt_ohm in (None, "kernel") else float(str(shunt_ohm)),
        channel=str(table["channel"]) if "channel" in table else None,
        volts=float(table["volts"]) if "volts" in table else None,
    )
    if module.SOURCE != "model":  # which needs the profile
        try:
            module.check(settings)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", error.hint) from error
    return settings


def modelled(profile: DeviceProfile) -> Settings:
    """The meter of a board without one: what its profile's fit says."""
    return Settings(
        "model", idle_w=profile.get("power", "model_idle_w"), k_w=profile.get("power", "model_k_w")
    )


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
