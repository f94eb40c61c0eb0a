"""A recorded table of candidates of one model on one board: decisions, and what a study would learn of them.

The file is gzipped JSON lines: a header (space, objective, provenance, digests, versions), then one line per
candidate, in the order in which they were recorded.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import ConfigError
from edgeopt.core.files import write_atomically
from edgeopt.core.objective import REGRESSIONS, Limits, MaxDrop, Objective
from edgeopt.core.region import Region
from edgeopt.core.saving import Savings, savings_from_json, savings_to_json
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.search.context import RegionNoise, RegionTimes
from edgeopt.study import records

FORMAT = 1
SUFFIX = ".jsonl.gz"
BULKY = ("process_turns_ms", "process_p95_ms", "process_cold_start_ms", "process_peak_rss_bytes")
"""Lists of a measurement that no sampler reads."""


@dataclass(frozen=True)
class Oracle:
    """What was recorded.

    Attributes:
        about: `model`, `device`, `board`, `provenance`, `recorded_by` (versions), `identity` (digests).
        trials: Baseline first, then references, then candidates; each candidate once.
        sources: Who proposed each of `trials`.
        original_score: Of the metric on the search part; None without data.
    """

    about: Mapping[str, Any]
    space: SearchSpace
    objective: Objective
    trials: Sequence[Trial]
    sources: Sequence[str]
    original_score: float | None
    region_ms: RegionTimes
    region_noise: RegionNoise
    savings: Savings = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`model on device`, and what its figures are unless they are measured."""
        provenance = self.about["provenance"]
        doubt = "" if provenance == "measured" else f", {provenance}"
        return f"{self.about['model']} on {self.about['device']}{doubt}"

    @cached_property
    def digest(self) -> str:
        """Of all that is in the file."""
        return value_digest(self._header(), self._rows())

    @property
    def given(self) -> list[Trial]:
        """Baseline and references: what every search starts from."""
        return [trial for trial in self.trials if trial.kind != "candidate"]

    def counts(self) -> dict[str, int]:
        """How many references and candidates there are, and what became of the candidates."""
        candidates = [trial for trial in self.trials if trial.kind == "candidate"]
        states = ("COMPLETE", "INFEASIBLE", "FAILED")
        of_state = {s.lower(): sum(trial.state == s for trial in candidates) for s in states}
        return {"references": len(self.given) - 1, "candidates": len(candidates), **of_state}

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; the same oracle gives the same bytes.

        Raises:
            EdgeoptError: The disk is full or not writable.
        """
        lines = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in self._lines())
        write_atomically(path, gzip.compress(lines.encode(), mtime=0))

    @classmethod
    def load(cls, path: Path) -> Oracle:
        """Read a file.

        Raises:
            ConfigError: It is not there, or it is no oracle of this format.
        """
        try:
            lines = gzip.decompress(path.read_bytes()).decode().splitlines()
            header, *rows = (json.loads(line) for line in lines)
            if header["format"] != FORMAT:
                raise ConfigError(
                    f"{path} has format {header['format']}, this edgeopt reads {FORMAT}",
                    hint="record it again",
                )
            return cls._read(header, rows, path.parent / "samples")
        except FileNotFoundError as error:
            raise ConfigError(
                f"no such file: {path}", hint="edgeopt bench record MODEL -o FILE makes one"
            ) from error
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no oracle: {type(error).__name__}: {error}") from error

    @classmethod
    def _read(cls, header: dict[str, Any], rows: list[dict[str, Any]], samples: Path) -> Oracle:
        points = tuple(DecisionPoint(s, tuple(options), default) for s, options, default in header["points"])
        regions = tuple(Region(**{k: _frozen(v) for k, v in region.items()}) for region in header["regions"])
        space = SearchSpace(header["model_digest"], points, regions)
        said = header["objective"]
        # What was recorded before there was a choice was never refused for it.
        worse = tuple(said.get("allow_worse", REGRESSIONS))
        objective = Objective(
            said["name"], MaxDrop(**said["max_drop"]), Limits(**said["limits"]), allow_worse=worse
        )
        trials = [
            records.from_json(number, space.decode(tuple(row["codes"])), row, samples)
            for number, row in enumerate(rows)
        ]
        return cls(
            header["about"], space, objective, trials, [row["source"] for row in rows],
            header["original_score"], header["region_ms"], header["region_noise"],
            savings_from_json(header.get("savings", {})),
        )  # fmt: skip

    def _lines(self) -> list[dict[str, Any]]:
        return [self._header(), *self._rows()]

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "about": dict(self.about),
            "model_digest": self.space.model_digest,
            "points": [[p.site, list(p.options), p.default] for p in self.space.points],
            "regions": [asdict(region) for region in self.space.regions],
            "objective": {
                "name": self.objective.name,
                "max_drop": asdict(self.objective.max_drop),
                "limits": asdict(self.objective.limits),
                "allow_worse": list(self.objective.allow_worse),
            },
            "original_score": self.original_score,
            "region_ms": self.region_ms,
            "region_noise": self.region_noise,
            "savings": savings_to_json(self.savings),
        }

    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(*pair) for pair in zip(self.trials, self.sources, strict=True)]

    def _row(self, trial: Trial, source: str) -> dict[str, Any]:
        record = records.to_json(trial, None, Path("/"))
        if record["artifact"]:
            record["artifact"]["path"] = trial.artifact.path.name if trial.artifact else ""
        if record["measurement"]:
            record["measurement"] |= dict.fromkeys(BULKY, ())
        return {"codes": list(self.space.encode(trial.candidate)), "source": source, **record}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
