"""The built-in metrics, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.data import ranking
from edgeopt.data.fit import Array
from edgeopt.data.metric import Answer, Metric, Outputs, PerSample, Whole
from edgeopt.data.user_code import is_reference, load_function


def resolve(name: str | None, *, labels: Array | None, outputs: Sequence[Array], base: Path) -> Metric:
    """The metric called `name`, or the default for this model and data.

    Default: `top1` with integer labels and a class output, else `agreement` with the original's classes,
    else `cosine` between its outputs and the original's.

    Args:
        name: A built-in, `module:function`, or None.
        labels: Of the data; None without.
        outputs: Of the original, for one sample.
        base: The folder in which `module:function` is looked up.

    Raises:
        ConfigError: An unknown name, or a module that cannot be imported.
        DataError: The metric needs labels or a kind of output that is not there.
    """
    if name is None:
        name = _default(labels, outputs)
    if is_reference(name):
        function = load_function(name, base)
        return Whole(
            name, "agreement" if labels is None else "labels", _everything, partial(_of_user, function),
            by_batch_axis=True, check_labels=partial(_check_like, name, labels),
        )  # fmt: skip
    if name not in BUILT_IN:
        raise ConfigError(
            f"unknown metric {name!r}", hint=f"known: {', '.join(sorted(BUILT_IN))}, or module:function"
        )
    make = BUILT_IN[name]
    metric = make(labels, outputs)
    if metric.basis == "agreement":
        return metric

    def check_labels(others: Array | None) -> None:
        if make(others, outputs).basis != "labels":  # without labels, mse compares with the original
            _need_labels(metric.name, others)

    return replace(metric, check_labels=check_labels)


def has_classes(outputs: Sequence[Array]) -> bool:
    """True if output 0 tells a class: one float per class on a single axis, or one integer."""
    first = outputs[0]
    if first.dtype.kind in "iu":
        return first.size == 1
    return first.dtype.kind == "f" and first.size > 1 and first.squeeze().ndim == 1


def top1(labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Share of samples whose class is the label."""
    _need_class_labels("top1", labels, outputs)
    return PerSample("top1", "labels", _class, lambda answer, label: float(answer[0] == label), 1.0, True)


def agreement(_labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Share of samples whose class is the original's."""
    _need_classes("agreement", outputs)
    return PerSample("agreement", "agreement", _class, lambda a, o: float(a[0] == o[0]), 1.0, True)


def cosine(_labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Cosine between the outputs and the original's, of the least similar output.

    Where an output is one number per sample, the cosine of two numbers tells only their signs: the samples
    then make the vectors.
    """
    if any(output.size == 1 for output in outputs):
        return Whole("cosine", "agreement", _everything, _cosine_over_samples)
    return PerSample("cosine", "agreement", _everything, _cosine_of_sample, 1.0)


def mse(labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Negated mean squared error of output 0, from the labels or without them from the original's."""
    return _error("mse", labels, outputs, lambda difference: -float(np.mean(difference**2)))


def mae(labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Negated mean absolute error of output 0, from the labels or without them from the original's."""
    return _error("mae", labels, outputs, lambda difference: -float(np.mean(np.abs(difference))))


def f1(labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Mean over the classes of the F1 score."""
    _need_class_labels("f1", labels, outputs)
    return Whole(
        "f1", "labels", _class, lambda o, _, data: ranking.macro_f1(o[0], data["labels"].reshape(-1))
    )


def auc(labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Area under the ROC curve of output 0; with more than two classes the mean of one against the rest."""
    kept = _need_labels("auc", labels)
    if kept.dtype.kind not in "biu":
        raise DataError(f"the metric auc needs integer labels, the data has {kept.dtype}")
    if outputs[0].size > 2:
        _need_class_labels("auc", labels, outputs)
    return Whole("auc", "labels", _scores, lambda o, _, data: ranking.auc(o[0], data["labels"].reshape(-1)))


def spearman(labels: Array | None, outputs: Sequence[Array]) -> Metric:
    """Rank correlation of output 0, one number per sample, with the labels."""
    _need_labels("spearman", labels)
    if outputs[0].size != 1:
        raise DataError(f"the metric spearman needs one number per sample, output 0 has {outputs[0].size}")
    return Whole(
        "spearman", "labels", _scores, lambda o, _, data: ranking.spearman(o[0], data["labels"].reshape(-1))
    )


BUILT_IN: dict[str, Callable[[Array | None, Sequence[Array]], Metric]] = {
    metric.__name__: metric for metric in (top1, f1, auc, spearman, cosine, agreement, mse, mae)
}


def _default(labels: Array | None, outputs: Sequence[Array]) -> str:
    if not has_classes(outputs):
        return "cosine"
    return "top1" if labels is not None and _are_classes(labels) else "agreement"


def _of_user(function: Callable[..., Any], outputs: Outputs, _: Outputs, data: Mapping[str, Array]) -> float:
    return float(function(outputs, data))


def _class(outputs: Sequence[Array]) -> Answer:
    first = outputs[0]
    return (
        first.reshape(()) if first.dtype.kind in "iu" and first.size == 1 else np.asarray(first.argmax()),
    )


def _scores(outputs: Sequence[Array]) -> Answer:
    """One score: of a pair of classes their difference, which orders logits and probabilities alike."""
    flat = outputs[0].reshape(-1).astype(np.float64)
    return (np.asarray(flat[1] - flat[0]) if flat.size == 2 else flat.squeeze(),)


def _everything(outputs: Sequence[Array]) -> Answer:
    return tuple(outputs)


def _cosine(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return 0.0
    if one.dtype.kind not in "biuf":
        return float(np.array_equal(one, other))
    a, b = one.reshape(-1).astype(np.float64), other.reshape(-1).astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    # Two zero vectors are the same answer; only one of them is another.
    return float(a @ b) / lengths if lengths else float(not a.any() and not b.any())


def _cosine_of_sample(answer: Answer, original: Answer) -> float:
    return min((_cosine(one, other) for one, other in zip(answer, original, strict=True)), default=1.0)


def _cosine_over_samples(outputs: Outputs, original: Outputs, _: Mapping[str, Array]) -> float:
    return min(
        float(np.mean([_cosine(a, b) for a, b in zip(one, other, strict=True)]))
        if isinstance(one, list) or isinstance(other, list) or one[0].size > 1
        else _cosine(one, other)
        for one, other in zip(outputs, original, strict=True)
    )


def _error(
    name: str, labels: Array | None, outputs: Sequence[Array], negated: Callable[[Array], float]
) -> Metric:
    size = outputs[0].size
    if labels is not None and (labels.dtype.kind not in "biuf" or labels[0].size != size):
        raise DataError(
            f"the metric {name} compares numbers: labels are {labels.dtype} of {labels[0].size} each, "
            f"output 0 has {size}"
        )

    def of_sample(answer: Answer, truth: Any) -> float:
        wanted = np.asarray(truth if labels is not None else truth[0], dtype=np.float64).reshape(-1)
        given = answer[0].reshape(-1).astype(np.float64)
        return negated(given - wanted) if given.shape == wanted.shape else float("-inf")

    return PerSample(
        name, "agreement" if labels is None else "labels", lambda outputs: (outputs[0],), of_sample, 0.0
    )


def _are_classes(labels: Array) -> bool:
    return labels.dtype.kind in "biu" and labels.size == len(labels)


def _check_like(name: str, labels: Array | None, others: Array | None) -> None:
    """What the user's metric reads in one part must be there in the others."""
    if labels is None:
        return
    if others is None:
        raise DataError(f"the metric {name} has labels to read in --data, but none here")
    if (labels.dtype.kind in "biuf") != (others.dtype.kind in "biuf") or labels.shape[1:] != others.shape[1:]:
        raise DataError(
            f"labels are {others.dtype} of shape {list(others.shape[1:])} each, "
            f"those of --data {labels.dtype} of shape {list(labels.shape[1:])}"
        )


def _need_labels(name: str, labels: Array | None) -> Array:
    if labels is None:
        raise DataError(
            f"the metric {name} needs labels, the data has none",
            hint="agreement and cosine compare with the original's outputs instead",
        )
    if labels.size != len(labels) or labels.dtype.kind not in "biuf":
        raise DataError(
            f"the metric {name} needs one number as label of each sample, not {labels.dtype}"
            f"{list(labels.shape)}",
            hint="for other labels write a metric of your own: module:function",
        )
    return labels


def _need_class_labels(name: str, labels: Array | None, outputs: Sequence[Array]) -> None:
    kept = _need_labels(name, labels)
    _need_classes(name, outputs)
    if not _are_classes(kept):
        raise DataError(f"the metric {name} needs integer labels, the data has {kept.dtype}")
    classes = outputs[0].size
    if outputs[0].dtype.kind == "f" and not (kept.min() >= 0 and kept.max() < classes):
        raise DataError(f"labels go from {kept.min()} to {kept.max()}, but output 0 has {classes} classes")


def _need_classes(name: str, outputs: Sequence[Array]) -> None:
    if not has_classes(outputs):
        raise DataError(
            f"the metric {name} needs classes in output 0, which has shape {list(outputs[0].shape)}",
            hint="cosine compares any outputs, auc takes one score; or write module:function",
        )
