"""How it went with one device."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from edgeopt.core.errors import ConnectError, EdgeoptError

State = Literal["updated", "current", "rolled-back", "unchanged", "failed", "unreached"]
"""`current`: it had the release already. `rolled-back` and `unchanged`: by `edgeopt rollback`. `failed`: it
answered, and the release is not serving there. `unreached`: nothing is known, so nothing is held against a
release."""

STATES = get_args(State)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One device, and how it ended.

    Attributes:
        reason: One line, where it did not end well.
        kind: Of the error, as in `edgeopt.core.errors`.
        exit_code: Of the error; 0 without one.
        counter: Of the release that serves there now; None: none, or unknown.
        variant: Which of its variants.
        previous: Counter of what served before; None: nothing, or unknown.
        sent_bytes: What was sent of the package's files; what was there already is not.
        seconds: From the first attempt to the end.
        time: When it ended, seconds since 1970.
    """

    name: str
    state: State
    reason: str | None = None
    hint: str | None = None
    kind: str | None = None
    exit_code: int = 0
    counter: int | None = None
    variant: str | None = None
    previous: int | None = None
    sent_bytes: int = 0
    seconds: float = 0.0
    time: float = field(default_factory=time.time)

    @property
    def has_answered(self) -> bool:
        return self.state != "unreached"

    @property
    def is_settled(self) -> bool:
        """Whether a rollout that goes on leaves it as it is."""
        return self.state != "unreached"

    @classmethod
    def of_error(cls, name: str, error: EdgeoptError, **facts: Any) -> Outcome:
        """A device that could not be reached has said nothing of a release; any other failure counts."""
        state: State = "unreached" if isinstance(error, ConnectError) else "failed"
        reason = error.message.removeprefix(f"{name}: ")
        return cls(name, state, reason, error.hint, error.kind, error.exit_code, **facts)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Outcome:
        """From `document`.

        Raises:
            ValueError: It is none.
        """
        known = {name: record[name] for name in cls.__slots__ if name in record}
        if known.get("state") not in STATES or not isinstance(known.get("name"), str):
            raise ValueError("not the record of a device")
        return cls(**known)

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)
