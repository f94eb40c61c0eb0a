"""How a candidate's inputs differ from the original's: only by what `--allow-interface` allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeopt.core.tensor import TensorSpec


@dataclass(frozen=True, slots=True)
class Levels:
    """What the bytes stand for that an input's values are made of: value = scale * byte + shift.

    Attributes:
        scale: One number, or one per channel; none is 0.
        shift: As many.
        axis: Of the channels in the input; None for one number.
    """

    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class InputChange:
    """One input that is fed otherwise than the original's.

    Attributes:
        before: As the original takes it.
        after: As the candidate takes it, under the same name.
        allowed_by: What was allowed: `uint8-input`, `nhwc`.
        levels: Of the bytes that are fed in place of values; None where the type stays.
        order: Axis i of the new layout is axis `order[i]` of the original's; None where the layout stays.
    """

    before: TensorSpec
    after: TensorSpec
    allowed_by: tuple[str, ...]
    levels: Levels | None = None
    order: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Of the input."""
        return self.before.name

    @property
    def how(self) -> str:
        """What a caller who fed the original has to do now, in a sentence."""
        steps = []
        if self.levels is not None:
            steps.append(
                "feed the 8-bit values as they are, without scale, mean or std: the model itself computes "
                f"{_formula(self.levels)}"
            )
        if self.order is not None:
            steps.append(f"feed the axes in the order {list(self.order)} of the original's (channels last)")
        return "; ".join(steps)

    def document(self) -> dict[str, Any]:
        """As `best.json` lists it."""
        return {
            "name": self.name,
            "from": {"dtype": self.before.dtype, "shape": list(self.before.shape)},
            "to": {"dtype": self.after.dtype, "shape": list(self.after.shape)},
            "allowed_by": list(self.allowed_by),
            "levels": asdict(self.levels) if self.levels else None,
            "transpose": list(self.order) if self.order else None,
            "how": self.how,
        }


Interface = tuple[InputChange, ...]
"""All inputs that are fed otherwise; empty for nearly every artifact."""


def to_json(interface: Interface) -> list[dict[str, Any]]:
    """As JSON-able values."""
    return [asdict(change) for change in interface]


def from_json(changes: Sequence[Mapping[str, Any]]) -> Interface:
    """The inverse of `to_json`, also after JSON made lists of its tuples.

    Raises:
        KeyError, TypeError: It is something else.
    """
    return tuple(
        InputChange(
            before=_spec(change["before"]),
            after=_spec(change["after"]),
            allowed_by=tuple(change["allowed_by"]),
            levels=_levels(change["levels"]) if change["levels"] else None,
            order=tuple(change["order"]) if change["order"] else None,
        )
        for change in changes
    )


def _spec(fields: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(fields["name"], fields["dtype"], tuple(fields["shape"]))


def _levels(fields: Mapping[str, Any]) -> Levels:
    return Levels(tuple(fields["scale"]), tuple(fields["shift"]), fields["axis"])


def _formula(levels: Levels) -> str:
    scale, shift = (_numbers(values) for values in (levels.scale, levels.shift))
    if set(levels.scale) == {1.0} and not any(levels.shift):
        return "with the bytes"
    shifted = f" + {shift}" if any(levels.shift) else ""
    return f"{scale} * byte{shifted}" + (" per channel" if len(levels.scale) > 1 else "")


def _numbers(values: tuple[float, ...]) -> str:
    shown = [f"{value:.6g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"[{', '.join(shown)}]"
