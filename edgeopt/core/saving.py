"""How much less of a model there is under an option, from its graph alone: what a search begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Saving:
    """What one inference does less.

    Attributes:
        flops: Operations; two for each multiply-add.
        moved_bytes: Read and written by all nodes, weights included.
        weight_bytes: Of constants.
    """

    flops: float
    moved_bytes: float
    weight_bytes: float


Savings = Mapping[str, Mapping[str, Saving]]
"""Site of a decision -> option -> what it saves; the default saves nothing and is left out."""


def savings_to_json(savings: Savings) -> dict[str, dict[str, dict[str, float]]]:
    """The inverse of `savings_from_json`."""
    return {site: {option: asdict(one) for option, one in of.items()} for site, of in savings.items()}


def savings_from_json(fields: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Savings:
    """The inverse of `savings_to_json`."""
    return {site: {option: Saving(**one) for option, one in of.items()} for site, of in fields.items()}
