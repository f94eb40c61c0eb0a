"""What a step says, read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgeopt.boards.provisioning.steps import Step

FORMAT = "1"
State = Literal["unchanged", "would-change", "changed", "restored", "not-applicable", "needs-root", "failed"]
STATES = ("unchanged", "would-change", "changed", "restored", "not-applicable", "failed")


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step.

    Attributes:
        changes: What differs (`would-change`), or was changed or restored.
        notes: What the user must know of it, such as what it weakens.
        reboots: Why the board must be rebooted for it to take effect.
        reason: Why it failed or does not apply.
        python: The interpreter that it prepared.
    """

    step: Step
    state: State
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reboots: tuple[str, ...] = ()
    reason: str | None = None
    python: str | None = None

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.step.name,
            "title": self.step.title,
            "needs": self.step.scope,
            "state": self.state,
            "changes": list(self.changes),
            "notes": list(self.notes),
            "reboot": list(self.reboots),
            "reason": self.reason,
            "lost_without": self.step.lost,
        }


def needs_root(step: Step) -> StepResult:
    """A step that cannot be run for want of rights."""
    return StepResult(step, "needs-root", reason=f"not done, it needs root; {step.lost}")


def parse(step: Step, text: str) -> StepResult | None:
    """Read what a step printed; lines without a known tag are of the programs that it ran. Never raises.

    Returns:
        None if the script did not begin, or did not come to its end.
    """
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        tag, separator, value = line.partition("\t")
        if separator and value.strip() not in said.setdefault(tag, []):
            said[tag].append(value.strip())
    states = said.get("state", [])
    if said.get("edgeopt-provision") != [FORMAT] or len(states) != 1 or states[0] not in STATES:
        return None
    return StepResult(
        step,
        states[0],  # type: ignore[arg-type]  # one of STATES
        tuple(said.get("change", ())),
        tuple(said.get("note", ())),
        tuple(said.get("reboot", ())),
        next(iter(said.get("reason", ())), None),
        next(iter(said.get("python", ())), None),
    )
