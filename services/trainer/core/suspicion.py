"""Which labels look wrong, by what models say that never saw the row.

Confident learning: Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70,
2021.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SURE: Final = 0.9
"""No threshold is above it: where labels are clean, wrong ones lower their neighbours' too."""


def suspicious_labels(label: Labels, probability: Floats) -> Floats:
    """float64 [rows]: how far a label is from what similar rows have; 0 where nothing is odd.

    A row is suspicious when a model that never saw it is as sure of the other class as it is, on
    average, of rows that bear that class, or surer than `SURE`.

    Args:
        label: int64 [rows], both classes present.
        probability: float64 [rows], of label 1, by models fitted on other rows.
    """
    positive = probability[label == 1].mean()
    negative = (1 - probability[label == 0]).mean()
    looks_positive = (label == 0) & (probability >= np.clip(positive, 0.5, SURE))
    looks_negative = (label == 1) & (1 - probability >= np.clip(negative, 0.5, SURE))
    distance = np.abs(probability - label)
    return np.where(looks_positive | looks_negative, distance, 0.0)


def suspicious_classes(label: Labels, probabilities: Floats) -> Floats:
    """`suspicious_labels` of more than two classes.

    Args:
        label: int64 [rows], every class present.
        probabilities: float64 [rows, classes], by models fitted on other rows.
    """
    classes = probabilities.shape[1]
    known = [probabilities[label == number, number].mean() for number in range(classes)]
    sure = np.clip(known, 0.5, SURE)
    told = probabilities.argmax(axis=1)
    looks_other = (told != label) & (probabilities.max(axis=1) >= sure[told])
    return np.where(looks_other, 1 - probabilities[np.arange(len(label)), label], 0.0)
