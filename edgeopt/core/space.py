"""The search space: named choices with options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgeopt.core.candidate import RUNTIME, Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.region import Region


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """A named choice.

    Attributes:
        site: Stable readable name: `rewrite:fold_batchnorm@/layer1/conv`, `precision@/layer1/conv`,
            `runtime:threads`.
        options: What can be chosen, as strings, in a fixed order.
        default: The option that leaves the model and its runtime as they were given.
        only: What can be chosen under a runtime, where that is not all: `(runtime, options)` pairs. The
            default always can.
    """

    site: str
    options: tuple[str, ...]
    default: str
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.default not in self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"{self.site}: default {self.default!r} and options {self.options} do not fit")
        for runtime, options in self.only:
            if self.default not in options or not set(options) <= set(self.options):
                raise ValueError(f"{self.site}: {options} under {runtime} do not fit")

    def offered(self, runtime: str | None) -> tuple[str, ...]:
        """The options under a runtime; None where nothing decides on the runtime."""
        return dict(self.only).get(runtime or "", self.options)

    @property
    def family(self) -> str:
        """`rewrite`, `precision`, `structure`, `quantization` or `runtime`."""
        return self.site.partition("@")[0].partition(":")[0]

    @property
    def name(self) -> str | None:
        """What of the family is decided (`fold_batchnorm`, `threads`); None for `precision@...`."""
        return self.site.partition("@")[0].partition(":")[2] or None

    @property
    def region(self) -> str | None:
        """The region decided on; None for a choice about the whole model."""
        return self.site.partition("@")[2] or None


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """All decision points of one model on one kind of board, in topological order of their regions.

    Where there are several runtimes, the runtime is the first decision, and points may offer other options
    under each (`DecisionPoint.only`).

    Attributes:
        withheld: Points that no sampler decides. A candidate at the default says nothing of them, so they
            make no other candidates of those that are known.
    """

    model_digest: str
    points: tuple[DecisionPoint, ...]
    regions: tuple[Region, ...] = ()
    withheld: tuple[DecisionPoint, ...] = ()
    _by_site: dict[str, DecisionPoint] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_site", {p.site: p for p in (*self.points, *self.withheld)})
        if len(self._by_site) != len(self.points) + len(self.withheld):
            raise ValueError("two decision points share a site")

    def __getitem__(self, site: str) -> DecisionPoint:
        return self._by_site[site]

    def __contains__(self, site: object) -> bool:
        return site in self._by_site

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Those that are decided between; empty where nothing is decided about them."""
        return next((point.options for point in self.points if point.site == RUNTIME), ())

    def under(self, runtime: str) -> SearchSpace:
        """What is left to decide once the runtime is decided: the same sites, with fewer options, so that
        its candidates are candidates of this space."""

        def settled(point: DecisionPoint) -> DecisionPoint:
            if point.site == RUNTIME:
                return DecisionPoint(RUNTIME, (runtime,), runtime)
            return replace(point, options=point.offered(runtime), only=())

        return replace(self, points=tuple(map(settled, self.points)))

    def settled(self, decisions: Mapping[str, str]) -> Candidate:
        """As `candidate`, but what the runtime among `decisions` does not offer is at its default: decisions
        of another runtime mean nothing under it.

        Raises:
            ConfigError: A site or an option that this space does not have.
        """
        runtime = self._runtime(decisions)
        return self.candidate({
            site: option
            if (point := self._by_site.get(site)) is None
            or option not in point.options
            or option in point.offered(runtime)
            else point.default
            for site, option in decisions.items()
        })  # fmt: skip

    def default(self) -> Candidate:
        """The model as it was given."""
        return self.candidate({})

    def candidate(self, decisions: Mapping[str, str]) -> Candidate:
        """A full candidate: `decisions`, and the default everywhere else.

        Raises:
            ConfigError: A site or an option that this space does not have.
        """
        full = {point.site: point.default for point in self.points} | dict(decisions)
        for point in self.withheld:
            if full.get(point.site) == point.default:
                del full[point.site]
        candidate = Candidate.of(self.model_digest, full)
        self.validate(candidate)
        return candidate

    def validate(self, candidate: Candidate) -> None:
        """Check that `candidate` decides every point of this space with one of its options.

        Raises:
            ConfigError: It belongs to another model, or a site or option is unknown or missing.
        """
        if candidate.model_digest != self.model_digest:
            raise ConfigError("the candidate belongs to another model")
        decided = dict(candidate.decisions)
        if unknown := sorted(decided.keys() - self._by_site.keys()):
            raise ConfigError(f"this model has no decision {unknown[0]!r}")
        runtime = self._runtime(decided)
        for point in (*self.points, *(point for point in self.withheld if point.site in decided)):
            offered = point.offered(runtime)
            if decided.get(point.site) not in offered:
                under = f" under {runtime}" if offered != point.options else ""
                raise ConfigError(
                    f"{point.site}: {decided.get(point.site)!r} is not one of {', '.join(offered)}{under}"
                )

    def _runtime(self, decisions: Mapping[str, str]) -> str | None:
        """The runtime that `decisions` are about; None where this space decides nothing about it."""
        point = self._by_site.get(RUNTIME)
        return None if point is None else decisions.get(RUNTIME, point.default)

    def encode(self, candidate: Candidate) -> tuple[int, ...]:
        """The index of the chosen option at each point, in the order of `points`."""
        decided = dict(candidate.decisions)
        return tuple(point.options.index(decided[point.site]) for point in self.points)

    def decode(self, indices: tuple[int, ...]) -> Candidate:
        """The inverse of `encode`."""
        chosen = {p.site: p.options[i] for p, i in zip(self.points, indices, strict=True)}
        return Candidate.of(self.model_digest, chosen)
