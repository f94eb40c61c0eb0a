"""Runs the original and candidates over one part, and scores them sample by sample or together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgeopt.core.errors import CandidateFailed, DataError
from edgeopt.data.answers import Answers
from edgeopt.data.fit import Array
from edgeopt.data.metric import Metric, NotFinite, PerSample, Whole, evaluated
from edgeopt.data.outputs import Joined, join
from edgeopt.data.split import Columns, Part
from edgeopt.data.streams import Run, stream

# A score is a mean of floats: forgive their rounding, nothing more.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Original:
    """What the original said on a part.

    Attributes:
        scores: `(n,)` of a metric that is a mean over samples, else None.
        answers: One per sample where candidates are compared with them, else empty.
        finite: No output held NaN or infinity.
    """

    score: float
    scores: Array | None
    answers: Answers
    finite: bool


@dataclass
class Scorer:
    """Scores on one part. The original runs once, at the first score.

    Attributes:
        compares: Keep the original's answers of a metric of all samples: its resamples need them.
    """

    part: Part
    metric: Metric
    run_original: Run
    batch_axis: int
    state: Mapping[str, str]
    output_names: Sequence[str]
    compares: bool
    columns: Columns = field(init=False)

    def __post_init__(self) -> None:
        self.columns = Columns(self.part)

    @cached_property
    def original(self) -> Original:
        """Raises: DataError where the metric raised or is not finite."""
        metric, answers, scores, finite = self.metric, Answers(), [], True
        keeps = metric.basis == "agreement" or (isinstance(metric, Whole) and self.compares)
        everything = []
        for index, outputs in enumerate(self._outputs(self.run_original)):
            finite = finite and _finite(outputs)
            answer = metric.keep(outputs)
            if keeps:
                answers.append(answer)
            if isinstance(metric, PerSample):
                scores.append(metric.of_sample(answer, self._truth(metric, index, answer)))
            else:
                everything.append(answer)
        if isinstance(metric, PerSample):
            score = float(np.mean(scores))
            if not np.isfinite(score):
                raise DataError(
                    f"the metric {metric.name} of the original is {score}: its outputs are not finite"
                )
            return Original(score, np.array(scores), answers, finite)
        values = join(everything, self.join_axis).values
        return Original(evaluated(metric, values, values, self.columns), None, answers, finite)

    def scores(self, metric: PerSample, run: Run, allowed: float | None) -> Array:
        """A candidate's score of each sample, `(k,)`.

        Args:
            allowed: Stop after `k` < n samples, when even perfect answers to the rest would leave a mean
                drop above this; None goes through all.
        """
        original = self.original
        assert original.scores is not None  # noqa: S101 - of a per-sample metric
        # room[i]: what all samples from i on can still give back.
        room = np.append(np.cumsum((metric.best - original.scores)[::-1])[::-1], 0.0)
        most = None if allowed is None else (allowed + ROUNDING) * len(self.part)
        scores: list[float] = []
        lost = 0.0
        for index, outputs in enumerate(self._outputs(run)):
            scores.append(self._score(metric, index, outputs))
            lost += float(original.scores[index]) - scores[-1]
            if most is not None and lost - room[index + 1] > most:
                break
        return np.array(scores)

    def scores_at(self, metric: PerSample, run: Run, rows: Array) -> Array:
        """A candidate's score of some samples, `(k,)`, each a stream of its own.

        Args:
            rows: `(k,)` ascending, of the part.
        """
        part = Part(self.part.dataset, self.part.indices[rows])
        outputs = (outputs for _, outputs in stream(part, run, state={}, output_names=self.output_names))
        return np.array(
            [self._score(metric, int(row), said) for row, said in zip(rows, outputs, strict=True)]
        )

    def _score(self, metric: PerSample, index: int, outputs: list[Array]) -> float:
        self._check_finite(outputs)
        truth = self._label(index) if metric.basis == "labels" else self.original.answers[index]
        score = metric.of_sample(metric.keep(outputs), truth)
        if not np.isfinite(score):
            raise CandidateFailed(f"its outputs cannot be compared by the metric {metric.name}")
        return score

    def joined(self, metric: Whole, run: Run) -> Joined:
        """A candidate's answers to all samples."""
        answers = []
        for outputs in self._outputs(run):
            self._check_finite(outputs)
            answers.append(tuple(np.array(value) for value in metric.keep(outputs)))
        return join(answers, self.join_axis)

    def score_all(self, metric: Whole, joined: Joined) -> float:
        """Raises: CandidateFailed where the original had a finite score and this has not."""
        before = joined.values
        if metric.basis == "agreement":
            before = join(self.original.answers, self.join_axis).values
        try:
            return evaluated(metric, joined.values, before, self.columns)
        except NotFinite as error:
            raise CandidateFailed(error.message) from error

    @property
    def join_axis(self) -> int | None:
        """The axis on which outputs are joined; None where a metric keeps no batch axis."""
        return self.batch_axis if isinstance(self.metric, Whole) and self.metric.by_batch_axis else None

    def _outputs(self, run: Run) -> Iterator[list[Array]]:
        for _, outputs in stream(self.part, run, state=self.state, output_names=self.output_names):
            yield outputs

    def _truth(self, metric: PerSample, index: int, answer: object) -> object:
        return self._label(index) if metric.basis == "labels" else answer

    def _label(self, index: int) -> object:
        assert self._labels is not None  # noqa: S101 - a metric of labels is refused without them
        return self._labels[index]

    @cached_property
    def _labels(self) -> Array | None:
        labels = self.part.labels
        # One label per sample, also where they are stored as a column.
        return labels.reshape(-1) if labels is not None and labels.size == len(labels) else labels

    def _check_finite(self, outputs: Sequence[Array]) -> None:
        if self.original.finite and not _finite(outputs):
            raise CandidateFailed("its outputs hold NaN or infinity, the original's do not")


def _finite(outputs: Sequence[Array]) -> bool:
    return all(value.dtype.kind != "f" or bool(np.isfinite(value).all()) for value in outputs)
