"""The accuracy gate: what a candidate loses against the original, and how sure that is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.objective import MaxDrop
from edgeopt.core.trial import Accuracy
from edgeopt.data.bounds import (
    bootstrap_upper,
    needed_by_width,
    t_upper,
    tango_needed,
    tango_upper,
    unseen_upper,
)
from edgeopt.data.fit import Array
from edgeopt.data.metric import Metric, Outputs, PerSample, Whole, evaluated
from edgeopt.data.outputs import Resampler, join
from edgeopt.data.scoring import ROUNDING, Scorer
from edgeopt.data.sequential import error_rates, looks
from edgeopt.data.split import Part, Parts
from edgeopt.data.streams import Run

PartName = Literal["search", "confirm"]
Verdict = Literal["established", "not established"]
ERROR_RATE = 0.05


class AccuracyGate:
    """Scores candidates against the original on the same samples.

    The original runs once per part; of its outputs only what the metric compares is kept, beyond a limit
    on disk. *Confirm* is read by `bound` (or where a caller names it), never by a search.

    Args:
        run_original: One inference of the original, outputs in the model's order.
        batch_axis: The model's, for metrics that take all outputs at once.
        state: `{output: input}` of a streaming model (see `streams.stream`).
        output_names: Of the model, in order; only needed with `state`.
        max_drop: What may be lost.
        seed: Of the bootstrap.

    Raises:
        DataError: The labels of a part cannot be scored by the metric; names the part.
    """

    def __init__(
        self,
        parts: Parts,
        metric: Metric,
        run_original: Run,
        *,
        batch_axis: int = 0,
        state: Mapping[str, str] | None = None,
        output_names: Sequence[str] = (),
        max_drop: MaxDrop,
        seed: int = 0,
    ) -> None:
        self.metric, self.max_drop, self._seed = metric, max_drop, seed
        shared = metric, run_original, batch_axis, state or {}, output_names
        self._scorers: dict[PartName, Scorer] = {
            "search": Scorer(parts.search, *shared, compares=False),
            "confirm": Scorer(parts.confirm, *shared, compares=True),
        }
        for name, scorer in self._scorers.items():
            _check_labels(name, scorer.part, metric)
        self._counts: dict[Accuracy, tuple[int, int, float]] = {}
        self._resampled: dict[bytes, float] = {}

    def original(self, part: PartName) -> Accuracy:
        """The original's own score, its drop being 0.

        Raises:
            DataError: The metric raised, or its result is not finite.
            ConfigError: The score is 0, of which `--max-drop` is a percentage: no loss at all would pass.
        """
        scorer = self._scorers[part]
        score = scorer.original.score
        if score == 0 and self.max_drop.relative and self.max_drop.value > 0:
            raise ConfigError(
                f"the original scores 0 by {self.metric.name} on the data to {part}, and --max-drop "
                f"{self.max_drop.value * 100:g}% of 0 is no drop at all",
                hint="say how much may be lost in absolute terms: --max-drop 0.01",
            )
        return self._accuracy(part, score, 0.0, len(scorer.part))

    def score(self, run: Run, part: PartName = "search", *, full: bool = False) -> Accuracy:
        """A candidate's score, and its drop on the same samples.

        Args:
            run: One inference of the candidate.
            full: Go through all samples even when the drop can no longer pass; otherwise `n` says how many
                were seen, and score and drop are those of these.

        Raises:
            CandidateFailed: Its outputs hold NaN or infinity and the original's do not.
            DataError: The metric raised.
        """
        scorer = self._scorers[part]
        original = scorer.original
        if isinstance(self.metric, Whole):
            score = scorer.score_all(self.metric, scorer.joined(self.metric, run))
            return self._accuracy(part, score, original.score - score, len(scorer.part))
        allowed = None if full else self.max_drop.allowed(original.score)
        scores = scorer.scores(self.metric, run, allowed)
        assert original.scores is not None  # noqa: S101 - of a per-sample metric
        drop = float(original.scores[: len(scores)].mean() - scores.mean())
        return self._accuracy(part, float(scores.mean()), drop, len(scores))

    def bound(self, run: Run, finalists: int) -> Accuracy:
        """Score on *confirm*, with the one-sided 95 % upper bound of the drop.

        The error is divided by the number of finalists (Bonferroni). 0/1 scores use Tango's interval,
        other means Student's t, everything else a paired bootstrap; where the data has groups, groups are
        resampled too and the larger bound holds.

        Raises:
            CandidateFailed: Its outputs hold NaN or infinity and the original's do not.
            DataError: The metric raised.
        """
        alpha = ERROR_RATE / max(1, finalists)
        if isinstance(self.metric, PerSample):
            return self._bound_of_mean(self.metric, run, alpha)
        return self._bound_of_whole(self.metric, run, alpha)

    def bound_elsewhere(
        self, run_of: Callable[[Part | None], Run], here: Run, finalists: int, *, allowed: float
    ) -> Accuracy:
        """`bound` of what a slow machine computes, on no more samples than it takes, and how far it disagrees
        with this one.

        Of a mean over independent samples it looks at 256 of *confirm*, drawn at random, then at twice as
        many each time, and stops where the bound is within what is allowed, or the drop surely is not; `n`
        says how many were run. The looks share the error rate. Other metrics take all samples.

        Args:
            run_of: The runs of a part's samples there, in their order; of None, all of *confirm*.
            here: One inference of the same artifact on this machine.
            allowed: The drop, absolute.

        Raises:
            CandidateFailed: Its outputs hold NaN or infinity and the original's do not.
            DataError: The metric raised.
        """
        metric, part = self.metric, self._scorers["confirm"].part
        if isinstance(metric, PerSample) and part.groups is None:
            return self._look_by_look(metric, run_of, here, ERROR_RATE / max(1, finalists), allowed)
        there, known = self.bound(run_of(None), finalists), self.score(here, "confirm", full=True)
        assert there.score is not None  # noqa: S101 - scored
        assert known.score is not None  # noqa: S101
        return replace(there, disagreement=abs(there.score - known.score))

    def _look_by_look(
        self, metric: PerSample, run_of: Callable[[Part | None], Run], here: Run, alpha: float, allowed: float
    ) -> Accuracy:
        scorer = self._scorers["confirm"]
        drawn = looks(len(scorer.part), self._seed)
        rows, there, known = np.empty(0, int), np.empty(0), np.empty(0)
        for new, rate in zip(drawn, error_rates(len(drawn), alpha), strict=True):
            part = Part(scorer.part.dataset, scorer.part.indices[new])
            rows = np.append(rows, new)
            there = np.append(there, scorer.scores_at(metric, run_of(part), new))
            known = np.append(known, scorer.scores_at(metric, here, new))
            accuracy = self._of_scores(metric, rows, there, rate)
            assert accuracy.bound is not None  # noqa: S101 - a bound was asked for
            if accuracy.bound <= allowed + ROUNDING or self._surely_over(metric, rows, there, rate, allowed):
                break
        return replace(accuracy, disagreement=float(np.abs(there - known).mean()))

    def _surely_over(
        self, metric: PerSample, rows: Array, scores: Array, alpha: float, allowed: float
    ) -> bool:
        """Whether the drop's lower bound is beyond what is allowed: no more samples would mend that."""
        before = self._scorers["confirm"].original.scores
        assert before is not None  # noqa: S101 - of a per-sample metric
        differences = before[rows] - scores
        if metric.is_binary:
            lost, gained = int((differences > 0).sum()), int((differences < 0).sum())
            return -tango_upper(gained, lost, len(rows), alpha) > allowed
        return -t_upper(-differences, alpha, float(np.ptp(before))) > allowed

    def least_bound(self, finalists: int, *, elsewhere: bool = False) -> float:
        """The bound of a candidate that loses nothing: with these data no smaller drop can be established.

        Args:
            elsewhere: By `bound_elsewhere`, whose looks share the error rate.
        """
        scorer, alpha = self._scorers["confirm"], ERROR_RATE / max(1, finalists)
        if elsewhere and isinstance(self.metric, PerSample) and scorer.part.groups is None:
            alpha = error_rates(len(looks(len(scorer.part), self._seed)), alpha)[-1]
        if isinstance(self.metric, PerSample) and self.metric.is_binary and scorer.part.groups is None:
            return tango_upper(0, 0, len(scorer.part), alpha)
        return unseen_upper(0.0, len(self._units()), alpha, abs(scorer.original.score))

    def verdict(self, accuracy: Accuracy, max_drop: MaxDrop | None = None) -> Verdict:
        """`established` if the bound of the drop is within what may be lost."""
        allowed = self._allowed(accuracy, max_drop)
        if accuracy.bound is not None and accuracy.bound <= allowed + ROUNDING:
            return "established"
        return "not established"

    def needed_n(self, accuracy: Accuracy, max_drop: MaxDrop | None = None) -> int | None:
        """About how many *confirm* samples would establish this drop; None if no number would."""
        allowed = self._allowed(accuracy, max_drop)
        if accuracy in self._counts:
            lost, gained, alpha = self._counts[accuracy]
            return tango_needed(lost, gained, accuracy.n, alpha, allowed)
        if accuracy.drop is None or accuracy.bound is None:
            return None
        return needed_by_width(accuracy.n, accuracy.drop, accuracy.bound, allowed)

    def explain(self, accuracy: Accuracy, max_drop: MaxDrop | None = None) -> str:
        """The verdict with what it would take: `not established (n = 500, needs about 1400)`."""
        if self.verdict(accuracy, max_drop) == "established":
            return f"established (n = {accuracy.n})"
        needed = self.needed_n(accuracy, max_drop)
        takes = "no number of samples would do" if needed is None else f"needs about {needed}"
        return f"not established (n = {accuracy.n}, {takes})"

    def _bound_of_mean(self, metric: PerSample, run: Run, alpha: float) -> Accuracy:
        scorer = self._scorers["confirm"]
        return self._of_scores(
            metric, np.arange(len(scorer.part)), scorer.scores(metric, run, allowed=None), alpha
        )

    def _of_scores(self, metric: PerSample, rows: Array, scores: Array, alpha: float) -> Accuracy:
        """What the scores of some rows of *confirm* say."""
        before, n = self._scorers["confirm"].original.scores, len(rows)
        assert before is not None  # noqa: S101 - of a per-sample metric
        differences = before[rows] - scores
        scale = max(float(np.ptp(before)), abs(float(before.mean())))
        lost, gained = int((differences > 0).sum()), int((differences < 0).sum())
        if metric.is_binary:
            bound = tango_upper(lost, gained, n, alpha)
        else:
            bound = t_upper(differences, alpha, scale)
        units = self._units()
        by_groups = -np.inf
        if len(units) < len(before):
            sums, sizes = np.array([(differences[unit].sum(), len(unit)) for unit in units]).T
            by_groups = bootstrap_upper(
                lambda chosen: float(sums[chosen].sum() / sizes[chosen].sum()),
                len(units), alpha, self._seed, scale,
            )  # fmt: skip
        accuracy = self._accuracy(
            "confirm", float(scores.mean()), float(differences.mean()), n, max(bound, by_groups)
        )
        if metric.is_binary and bound >= by_groups:
            self._counts[accuracy] = lost, gained, alpha
        return accuracy

    def _bound_of_whole(self, metric: Whole, run: Run, alpha: float) -> Accuracy:
        scorer = self._scorers["confirm"]
        original, joined = scorer.original, scorer.joined(metric, run)
        score = scorer.score_all(metric, joined)
        before, units = join(original.answers, scorer.join_axis), self._units()
        originals, candidates = Resampler(before), Resampler(joined)

        def drop_of(chosen: Array) -> float:
            rows = np.concatenate([units[unit] for unit in chosen])
            # Who scores by labels does not look at the original's outputs, and its scores are known after
            # the first candidate: each is judged on the same resamples.
            by_labels, key = metric.basis == "labels", hashlib.sha256(rows.tobytes()).digest()
            known = self._resampled.get(key) if by_labels else None
            kept: Outputs = [] if known is not None else originals.take(rows)
            data = scorer.columns.of(rows)
            try:
                ours = evaluated(metric, kept, kept, data) if known is None else known
                if by_labels:
                    self._resampled[key] = ours
                return ours - evaluated(metric, candidates.take(rows), kept, data)
            except DataError:  # a resample of one class only, say: the metric is not defined there
                return float("nan")

        drop = original.score - score
        bound = bootstrap_upper(drop_of, len(units), alpha, self._seed, abs(original.score))
        return self._accuracy("confirm", score, drop, len(scorer.part), max(drop, bound))

    def _units(self) -> list[Array]:
        """What is drawn together: the rows of each group, or each row on its own."""
        part = self._scorers["confirm"].part
        if part.groups is None:
            return list(np.arange(len(part))[:, None])
        return [np.flatnonzero(part.groups == group) for group in np.unique(part.groups)]

    def _allowed(self, accuracy: Accuracy, max_drop: MaxDrop | None) -> float:
        # Score and drop are of the same samples: their sum is the original's score.
        original = (accuracy.score or 0.0) + (accuracy.drop or 0.0)
        return (max_drop or self.max_drop).allowed(original)

    def _accuracy(
        self, part: PartName, score: float, drop: float, n: int, bound: float | None = None
    ) -> Accuracy:
        return Accuracy(score, drop, bound, n, self.metric.basis, part)


def _check_labels(name: PartName, part: Part, metric: Metric) -> None:
    try:
        metric.check_labels(part.labels)
    except DataError as error:
        raise DataError(f"the data to {name} ({part.dataset.name}): {error.message}", error.hint) from error
