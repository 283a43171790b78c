"""How good probabilities of several classes are. numpy only; every function is pure.

Throughout: `label` int64 [rows], the number of the class from 0; `probabilities` float
[rows, classes]; a confusion is [..., classes, classes], rows counted by their class and by the
one that was most probable, of equals the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core.scores import Labels, Scores

Floats = npt.NDArray[np.float64]
Probabilities = npt.NDArray[Any]  # any float dtype
Confusion = npt.NDArray[np.int64]


def confusion_of(label: Labels, probabilities: Probabilities) -> Confusion:
    """int64 [classes, classes]: rows by class and predicted class."""
    classes = probabilities.shape[1]
    cells = label * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def recalls(confusion: Confusion) -> Floats:
    """float64 [..., classes]: share of a class's rows that were told; NaN without any row."""
    return _ratio(_told(confusion), confusion.sum(axis=-1))


def precisions(confusion: Confusion) -> Floats:
    """float64 [..., classes]: share of right ones among what was told; NaN if it never was."""
    return _ratio(_told(confusion), confusion.sum(axis=-2))


def f1s(confusion: Confusion) -> Floats:
    """float64 [..., classes]: harmonic mean of both; NaN for a class that neither is nor is told.

    Twice the right ones over the rows of the class and those told to be of it.
    """
    return _ratio(2 * _told(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def balanced_accuracy(confusion: Confusion) -> Floats:
    """float64 [...]: mean recall of the classes that have rows, each counting the same."""
    return np.asarray(np.nanmean(recalls(confusion), axis=-1), dtype=np.float64)


def macro_f1(confusion: Confusion) -> Floats:
    """float64 [...]: mean F1 of the classes that have rows or are told."""
    return np.asarray(np.nanmean(f1s(confusion), axis=-1), dtype=np.float64)


def log_losses(label: Labels, probabilities: Probabilities) -> Floats:
    """float64 [rows]: negative log of the probability of the true class, in nats.

    Kept 1e-7 away from 0, as for two classes.
    """
    true = probabilities[np.arange(len(label)), label].astype(np.float64)
    return np.asarray(-np.log(np.clip(true, scoring.PROBABILITY_FLOOR, 1.0)))


def selection_metrics(label: Labels, probabilities: Probabilities) -> dict[str, float]:
    """The metrics that trials are picked by; at least one row."""
    confusion = confusion_of(label, probabilities)
    return {
        "log_loss": float(log_losses(label, probabilities).mean()),
        "macro_f1": float(macro_f1(confusion)),
        "balanced_accuracy": float(balanced_accuracy(confusion)),
    }


def score_classes(label: Labels, probabilities: Probabilities, classes: Sequence[str]) -> Scores:
    """Everything measured of `probabilities`; at least one row.

    Args:
        label: int64 [rows].
        probabilities: float [rows, classes].
        classes: Names, in the order of the columns.
    """
    confusion = confusion_of(label, probabilities)
    told = probabilities.argmax(axis=1)
    right = (told == label).astype(np.float64)
    truth = np.eye(len(classes))[label]
    promised = probabilities.max(axis=1)
    losses = log_losses(label, probabilities)
    recall = recalls(confusion)
    values = {
        **selection_metrics(label, probabilities),
        "accuracy": float(right.mean()),
        "brier": float(np.mean(np.sum((probabilities - truth) ** 2, axis=1))),
        "calibration_error": scoring.expected_calibration_error(right, promised),
        "worst_recall": float(np.nanmin(recall)),
    }
    measures = {"precision": precisions(confusion), "recall": recall, "f1": f1s(confusion)}
    by_class = {
        f"{name}.{each}": float(value)
        for name, measured in measures.items()
        for each, value in zip(classes, measured, strict=True)
        if np.isfinite(value)
    }
    return Scores(
        rows=len(label),
        positive_rate=None,
        values=values,
        standard_errors=_standard_errors(losses, right, recall, confusion),
        reliability=scoring.reliability(right, promised),
        by_class=by_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _standard_errors(
    losses: Floats, right: Floats, recall: Floats, confusion: Confusion
) -> dict[str, float]:
    """Of the means over rows, and of the mean of recalls, whose rows are apart."""
    if len(losses) < 2:
        return {}
    present = np.isfinite(recall)
    variances = recall[present] * (1 - recall[present]) / confusion.sum(axis=1)[present]
    return {
        "log_loss": scoring.mean_standard_error(losses),
        "accuracy": scoring.mean_standard_error(right),
        "balanced_accuracy": float(np.sqrt(variances.sum()) / present.sum()),
    }


def _told(confusion: Confusion) -> Confusion:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: Confusion, whole: Confusion) -> Floats:
    empty = np.full(whole.shape, np.nan)
    return np.asarray(np.divide(part, whole, out=empty, where=whole > 0), dtype=np.float64)
