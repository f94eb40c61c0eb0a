"""Scores that need all samples together: macro F1, ROC AUC, rank correlation."""

from __future__ import annotations

import numpy as np

from edgeopt.data.fit import Array


def macro_f1(predicted: Array, labels: Array) -> float:
    """Mean F1 over the classes that are predicted or true; `predicted`, `labels`: `(n,)` integers."""
    scores = []
    for name in np.union1d(predicted, labels):
        right = np.count_nonzero((predicted == name) & (labels == name))
        named = np.count_nonzero(predicted == name) + np.count_nonzero(labels == name)
        scores.append(2 * right / named)
    return float(np.mean(scores))


def auc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve.

    Args:
        scores: `(n,)` for two classes, the greater label being the positive one, or `(n, C)`.
        labels: `(n,)` integers.

    Returns:
        The mean over classes, one against the rest, for `(n, C)`; NaN where one class is all there is.

    Source: the Mann-Whitney form, ties counted half; Hanley and McNeil, Radiology 143 (1982) 29.
    """
    if scores.ndim == 1:
        return _auc_of_one(scores, labels == labels.max()) if len(np.unique(labels)) == 2 else float("nan")
    present = np.unique(labels)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([_auc_of_one(scores[:, name], labels == name) for name in present]))


def spearman(values: Array, labels: Array) -> float:
    """Rank correlation of `(n,)` arrays; 0 where all values are the same, NaN where all labels are."""
    a, b = ranks(values), ranks(labels)
    a, b = a - a.mean(), b - b.mean()
    if not b.any():
        return float("nan")
    return float(a @ b / np.sqrt((a @ a) * (b @ b))) if a.any() else 0.0


def ranks(values: Array) -> Array:
    """Ranks from 1, ties sharing their mean rank; `(n,)` float64."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: Array = (last - (counts - 1) / 2)[place.reshape(-1)]
    return means


def _auc_of_one(scores: Array, positive: Array) -> float:
    above, below = int(positive.sum()), int((~positive).sum())
    return float((ranks(scores)[positive].sum() - above * (above + 1) / 2) / (above * below))
