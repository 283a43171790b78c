"""Calibrations fitted by scikit-learn, and a classifier that has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.core.calibration import (
    Block,
    Calibration,
    CalibrationMap,
    CalibrationMethod,
    PiecewiseMap,
    SigmoidMap,
    piecewise_map,
    sigmoid_map,
    soft_targets,
)
from services.trainer.core.scores import Labels, Probabilities


@dataclass(frozen=True, eq=False)
class Unseen:
    """What models scored of rows that they had not learned from.

    Attributes:
        label: int64 [rows].
        probability: [rows], of label 1.
    """

    label: Labels
    probability: Probabilities


def fit_calibration(method: CalibrationMethod, unseen: Unseen) -> Calibration | None:
    """The calibration that `unseen` teaches; None where none is asked for. Deterministic.

    Raises:
        NotBetter: Higher scores are worth no more.
    """
    match method:
        case CalibrationMethod.NONE:
            return None
        case CalibrationMethod.SIGMOID:
            return Calibration(method, len(unseen.label), _sigmoid(unseen))
        case CalibrationMethod.ISOTONIC:
            return Calibration(method, len(unseen.label), _isotonic(unseen))
        case _ as never:
            assert_never(never)


@dataclass(frozen=True, eq=False)
class CalibratedClassifier:
    """A classifier whose probabilities are calibrated.

    Attributes:
        estimator: A scikit-learn classifier.
        calibration: Of its scores.
    """

    estimator: Any  # scikit-learn has no types
    calibration: CalibrationMap

    def predict_proba(self, rows: Matrix) -> npt.NDArray[np.float64]:
        """float64 [rows, 2]: probabilities of 0 and of 1."""
        positive = self.calibration.of(self.estimator.predict_proba(rows)[:, 1])
        return np.column_stack([1 - positive, positive])


def _sigmoid(unseen: Unseen) -> SigmoidMap:
    from sklearn.linear_model import LogisticRegression

    target = soft_targets(unseen.label)

    def regress(odds: npt.NDArray[np.float64]) -> tuple[float, float]:
        # A row whose target is 0.99 is one with label 1 that weighs 0.99, and one with label 0.
        model = LogisticRegression(C=np.inf, solver="newton-cholesky")
        model.fit(
            np.concatenate([odds, odds]).reshape(-1, 1),
            np.repeat([1, 0], len(target)),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        return float(model.coef_[0, 0]), float(model.intercept_[0])

    return sigmoid_map(unseen.probability, regress)


def _isotonic(unseen: Unseen) -> PiecewiseMap:
    from sklearn.isotonic import isotonic_regression

    target = soft_targets(unseen.label)
    scores, which, rows = np.unique(
        np.asarray(unseen.probability, dtype=np.float64), return_inverse=True, return_counts=True
    )
    means = np.bincount(which, weights=target) / rows
    worth = isotonic_regression(means, sample_weight=rows.astype(np.float64))
    probabilities, block = np.unique(worth, return_inverse=True)
    block_rows = np.bincount(block, weights=rows)
    middles = np.bincount(block, weights=rows * scores) / block_rows
    return piecewise_map(
        Block(int(count), float(score), float(probability))
        for count, score, probability in zip(block_rows, middles, probabilities, strict=True)
    )
