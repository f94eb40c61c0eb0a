"""The one script that a board gets, and the command that reads it there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.boards.provisioning.steps import FOLDER, Step
from edgeopt.core.errors import ConfigError
from edgeopt.resources import resource
from edgeopt.runtimes import litert as litert_runtime
from edgeopt.runtimes import onnxruntime

MARK = "# edgeopt provisioning"
"""First line of the script: what stdin carries before it (a password that sudo has not taken) is dropped."""

ACTIONS = ("check", "do", "undo", "reboot")
RUNTIMES = ((onnxruntime.INSTALL, "onnxruntime"), (litert_runtime.INSTALL, "ai_edge_litert.interpreter"))
"""What pip is asked for, and what can be imported then."""

CHIPS = ("ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina237", "ina238", "ina260", "ina3221")


@dataclass(frozen=True, slots=True)
class Meter:
    """A power meter on the board's own I²C bus.

    Attributes:
        chip: As its kernel driver calls it.
        bus: Number of the bus: 1 on the pins of a Raspberry Pi.
        address: Of the chip on the bus, 0x03 to 0x77.
        shunt_ohm: Of the resistor that it measures over, in ohm. It has no default: the kernel's is 10 mΩ,
            the common INA219 boards carry 100 mΩ.
    """

    chip: str
    bus: int
    address: int
    shunt_ohm: float

    @classmethod
    def parse(cls, text: str, shunt_ohm: float | None) -> Meter:
        """Read `ina219@1:0x40`.

        Raises:
            ConfigError: It is not of that form, or the shunt is missing or no resistance.
        """
        found = re.fullmatch(r"([a-z0-9]+)@(\d{1,3}):(0x[0-9a-fA-F]{1,2})", text)
        if not found or found[1] not in CHIPS or not 3 <= int(found[3], 16) <= 0x77:
            raise ConfigError(
                f"--meter {text!r} is not CHIP@BUS:ADDRESS, as in ina219@1:0x40",
                hint=f"chips: {', '.join(CHIPS)}",
            )
        if shunt_ohm is None or not 1e-5 <= shunt_ohm <= 10:
            raise ConfigError(
                "--meter needs --shunt-ohm, the resistance that is printed on the shunt, 0.00001 to 10",
                hint="R100 means 0.1; the kernel would assume 0.01",
            )
        return cls(found[1], int(found[2]), int(found[3], 16), shunt_ohm)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the steps are told.

    Attributes:
        login_user: Who logs in.
        measure_user: Whom models shall run as; may be the same.
        requirements: What pip shall install.
        modules: What can be imported then.
        from_index: Whether the board's own pip fetches it; otherwise it takes what was sent.
    """

    login_user: str
    measure_user: str
    requirements: tuple[str, ...]
    modules: tuple[str, ...]
    from_index: bool = False
    meter: Meter | None = None

    @classmethod
    def of(
        cls, login_user: str, measure_user: str, *, litert: bool, from_index: bool, meter: Meter | None
    ) -> Settings:
        """Settings for the usual runtimes.

        Raises:
            ConfigError: `measure_user` cannot be the name of an account.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", measure_user):
            raise ConfigError(f"{measure_user!r} cannot be the name of an account", hint="a-z, 0-9, - and _")
        chosen = [*RUNTIMES[: 2 if litert else 1]]
        return cls(
            login_user,
            measure_user,
            tuple(requirement for requirement, _ in chosen),
            tuple(module for _, module in chosen),
            from_index,
            meter,
        )

    def variables(self) -> dict[str, str]:
        """As the shell variables of the steps."""
        meter = self.meter
        return {
            "LOGIN_USER": self.login_user,
            "MEASURE_USER": self.measure_user,
            "REQUIREMENTS": " ".join(self.requirements),
            "MODULES": ", ".join(self.modules),
            "FROM_INDEX": "yes" if self.from_index else "no",
            "METER_CHIP": meter.chip if meter else "",
            "METER_BUS": str(meter.bus) if meter else "",
            "METER_ADDRESS": f"{meter.address:#04x}" if meter else "",
            "METER_SHUNT_MICROOHM": f"{meter.shunt_ohm * 1e6:.0f}" if meter else "",
        }


def compose(steps: Sequence[Step], settings: Settings) -> str:
    """A script that, told `check|do|undo STEP`, does that.

    It only defines functions before its last line: one of which a part is missing does nothing.
    """
    frame = (resource(FOLDER) / "frame.sh").read_text(encoding="utf-8")
    scopes = " ".join(f"{step.name}) SCOPE={step.scope} ;;" for step in steps)
    assignments = [f"{name}={shlex.quote(value)}" for name, value in settings.variables().items()]
    parts = [MARK, *assignments, frame, *(step.script for step in steps)]
    last = f'case ${{2-}} in {scopes} *) SCOPE=root ;; esac; main "$@"; exit'
    return "\n".join([*parts, "provision() {", last, "}", 'provision "$@"']) + "\n"


def command(action: str, step: str = "", prefix: str = "") -> str:
    """What reads the script from stdin and runs it.

    Args:
        action: One of `ACTIONS`.
        step: Name of a step; empty for `reboot`.
        prefix: What gives the rights (`sudo …`), or nothing.
    """
    read = f'while IFS= read -r line; do [ "$line" != "{MARK}" ] || exec /bin/sh -s -- "$@"; done; exit 9'
    arguments = f"{action} {step}".strip()
    return f"{prefix} /bin/sh -c {shlex.quote(read)} sh {arguments}".strip()
