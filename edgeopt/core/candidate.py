"""A candidate: a set of decisions, never a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgeopt.core.digest import value_digest

RECOVERY, REFITTED, DISTILLED = "recovery", "refitted", "distilled"
"""How the weights of a changed structure were made to fit: the site of that decision, and its options. It is
left out where it is `refitted`, and no sampler decides it."""

RUNTIME: Final = "runtime"
ONNXRUNTIME: Final = "onnxruntime"
LITERT: Final = "litert"
"""What loads the model: the site of that decision, and its options. A candidate of a space that decides
nothing about it says nothing, and runs on ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Decisions about one model, sorted by site: the same decisions are equal, and replay anywhere.

    Attributes:
        model_digest: SHA-256 of the model that the decisions speak of.
        decisions: `(site, option)` pairs, sorted by site.
    """

    model_digest: str
    decisions: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, model_digest: str, decisions: Mapping[str, str]) -> Candidate:
        """Build from a mapping of site to option."""
        return cls(model_digest, tuple(sorted(decisions.items())))

    @property
    def key(self) -> str:
        """SHA-256 of the model and the decisions."""
        return value_digest(self.model_digest, self.decisions)

    @property
    def is_distilled(self) -> bool:
        """Whether it has weights that were learnt from the original's outputs."""
        return self.chosen(RECOVERY) == DISTILLED

    @property
    def runtime(self) -> str:
        """What loads it: `onnxruntime` or `litert`."""
        return self.chosen(RUNTIME) or ONNXRUNTIME

    def chosen(self, site: str, default: str | None = None) -> str | None:
        """The option chosen at `site`, or `default` where it is not decided."""
        return next((option for decided, option in self.decisions if decided == site), default)

    def of_family(self, family: str) -> dict[str, str]:
        """The decisions whose site starts with `family` (`rewrite`, `precision`, ...)."""
        return {s: o for s, o in self.decisions if s.partition("@")[0].partition(":")[0] == family}

    def changes(self, default: Candidate) -> dict[str, str]:
        """Only the decisions that differ from `default`: what a reader wants to see."""
        base = dict(default.decisions)
        return {site: option for site, option in self.decisions if base.get(site) != option}
