"""What an agent answers, read strictly: a device that talks nonsense is a device that failed, not a bug."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeopt.core.errors import CommandError
from edgeopt.field.parcel import Parcel


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that a device lacks, from byte `offset` of its `length` on."""

    path: str
    sha256: str
    length: int
    offset: int

    @property
    def rest(self) -> int:
        """How many bytes are to be sent."""
        return self.length - self.offset

    def anew(self) -> Missing:
        """The same, from its first byte on."""
        return replace(self, offset=0)


@dataclass(frozen=True, slots=True)
class Staged:
    """How a device took the metadata of a release.

    Attributes:
        staging: What it calls this release until it is installed.
        installed: It serves this very release already.
        missing: What it lacks of the variant that it has chosen.
    """

    staging: str
    counter: int
    variant: str | None
    installed: bool
    missing: tuple[Missing, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any], name: str, parcel: Parcel) -> Staged:
        """Read the answer to `stage`.

        Raises:
            CommandError: It is none, or asks for what the package does not have.
        """
        try:
            missing = tuple(
                Missing(str(one["path"]), str(one["sha256"]), int(one["length"]), int(one["offset"]))
                for one in answer["missing"]
            )
            found = cls(
                str(answer["staging"]), int(answer["counter"]), answer["variant"],
                bool(answer["installed"]), missing,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise nonsense(name, "stage", error) from error
        for one in missing:
            place = parcel.place(one.sha256)
            if place is None or place.length != one.length or not 0 <= one.offset <= one.length:
                raise nonsense(name, "stage", f"asks for {one.path[:100]} of {one.length} bytes")
        return found


@dataclass(frozen=True, slots=True)
class Serving:
    """What a device serves, as answers to `install` and `status` say it.

    Attributes:
        state: `good`, `trying` (it serves on trial), `none`, or what else the device calls it.
        last: Of its history, the last entry; empty: there is none.
    """

    state: str
    counter: int | None
    variant: str | None
    previous: int | None
    busy: bool
    last: Mapping[str, Any]

    @classmethod
    def of(cls, answer: Mapping[str, Any], name: str) -> Serving:
        """Read the answer.

        Raises:
            CommandError: It is none.
        """
        try:
            return cls(
                str(answer["state"]), _whole(answer.get("counter")), answer.get("variant"),
                _whole(answer.get("previous")), bool(answer.get("busy")), dict(answer.get("last") or {}),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise nonsense(name, "status", error) from error


def nonsense(name: str, word: str, why: object) -> CommandError:
    """The error for an answer that makes no sense."""
    text = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else why
    return CommandError(f"{name}: its answer to {word} makes no sense: {text}")


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
