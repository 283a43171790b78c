"""How well a feature tells the label by itself, on rows that it was not fitted on."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from services.common import scoring
from services.trainer.core.tables import TWO_CLASSES, Table

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEAK_ROWS: Final = 200
"""Fewer rows say too little: by chance they tell a lot."""


def class_auc(codes: Codes, known: Table) -> float | None:
    """`alone_auc`; of more than two classes, the mean over telling each from all others."""
    if len(known.classes) == len(TWO_CLASSES):
        return alone_auc(codes, known.label)
    numbers = range(len(known.classes))
    each = [alone_auc(codes, (known.label == number).astype(np.int64)) for number in numbers]
    told = [auc for auc in each if auc is not None]
    return float(np.mean(told)) if told else None


def alone_auc(codes: Codes, label: npt.NDArray[np.int64]) -> float | None:
    """How well a feature orders the label by itself, 0.5 to 1; None below `LEAK_ROWS` rows.

    The share of positives by value is taken from every other row and scored on the rest, so that
    a value of its own for each row gains nothing.

    Args:
        codes: int64 [rows], the value of each row as a small number.
        label: int64 [rows], 0 or 1.
    """
    learn, judge = np.arange(len(codes)) % 2 == 0, np.arange(len(codes)) % 2 == 1
    if len(codes) < LEAK_ROWS or len(np.unique(label[judge])) < 2:
        return None
    size = int(codes.max()) + 1
    rows = np.bincount(codes[learn], minlength=size)
    positives = np.bincount(codes[learn], weights=label[learn], minlength=size)
    overall = float(label[learn].mean())
    rate = (positives + overall) / (rows + 1)
    return scoring.auc(label[judge], rate[codes[judge]])


def alone_r2(codes: Codes, target: Floats) -> float | None:
    """Share of the variance of a quantity's ranks that a feature tells; None as for `alone_auc`.

    Of ranks, so that a few large values decide nothing. The mean rank by value is taken from every
    other row and held against the rest, but for values that only the rest has: a feature of which
    most are so tells nothing.

    Args:
        codes: int64 [rows], the value of each row as a small number.
        target: float64 [rows].
    """
    ranks = np.searchsorted(np.sort(target), target).astype(np.float64)
    learn, judge = np.arange(len(codes)) % 2 == 0, np.arange(len(codes)) % 2 == 1
    if len(codes) < LEAK_ROWS or not ranks[judge].any():
        return None
    size = int(codes.max()) + 1
    rows = np.bincount(codes[learn], minlength=size)
    known = judge & (rows[codes] > 0)
    variance = float(ranks[known].var()) if 2 * known.sum() >= judge.sum() else 0.0
    if not variance:
        return 0.0
    means = np.bincount(codes[learn], weights=ranks[learn], minlength=size) / np.maximum(rows, 1)
    return max(0.0, 1 - float(np.mean((means[codes[known]] - ranks[known]) ** 2)) / variance)
