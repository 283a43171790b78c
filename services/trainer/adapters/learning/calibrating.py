"""Calibrations fitted by scikit-learn, and a classifier that has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, assert_never

import numpy as np
import numpy.typing as npt

from services.trainer.adapters.learning.recipe import Matrix
from services.trainer.core.calibration import (
    Block,
    Calibration,
    CalibrationMethod,
    piecewise_map,
    sigmoid_map,
    soft_class_targets,
    soft_targets,
    softmax_map,
)
from services.trainer.core.calibration_maps import (
    CalibrationMap,
    Floats,
    OneVsRestMap,
    PiecewiseMap,
    SigmoidMap,
    SoftmaxMap,
)
from services.trainer.core.objectives import Predicted
from services.trainer.core.scores import Labels
from services.trainer.core.tables import TWO_CLASSES

_CLOSE: Final = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8}


@dataclass(frozen=True, eq=False)
class Unseen:
    """What models scored of rows that they had not learned from.

    Attributes:
        label: int64 [rows].
        probability: [rows], of label 1, or [rows, classes].
        classes: Names by their numbers.
    """

    label: Labels
    probability: Predicted
    classes: tuple[str, ...] = TWO_CLASSES

    @property
    def are_two(self) -> bool:
        """Whether `probability` is that of label 1."""
        return len(self.classes) == len(TWO_CLASSES)


def fit_calibration(method: CalibrationMethod, unseen: Unseen) -> Calibration | None:
    """The calibration that `unseen` teaches; None where none is asked for. Deterministic.

    Raises:
        NotBetter: Higher scores are worth no more.
    """
    match method:
        case CalibrationMethod.NONE:
            return None
        case CalibrationMethod.SIGMOID:
            learned = _sigmoid(unseen) if unseen.are_two else _softmax(unseen)
            return Calibration(method, len(unseen.label), learned)
        case CalibrationMethod.ISOTONIC:
            curves = _isotonic(unseen) if unseen.are_two else _one_vs_rest(unseen)
            return Calibration(method, len(unseen.label), curves)
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
        """float64 [rows, classes]."""
        told = self.estimator.predict_proba(rows)
        if isinstance(self.calibration, SoftmaxMap | OneVsRestMap):
            return self.calibration.of(told)
        positive = self.calibration.of(told[:, 1])
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


def _softmax(unseen: Unseen) -> SoftmaxMap:
    from scipy.optimize import minimize

    target = soft_class_targets(unseen.label, len(unseen.classes))

    def regress(logs: Floats) -> tuple[float, tuple[float, ...]]:
        def loss(slope_and_shifts: Floats) -> tuple[float, Floats]:
            """Mean cross-entropy, and its gradient; convex, since it is a logistic regression."""
            slope, *shifts = slope_and_shifts
            logits = slope * logs + np.array([0.0, *shifts])
            logits -= logits.max(axis=1, keepdims=True)
            told = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            error = np.exp(told) - target
            gradient = np.array([np.sum(error * logs), *error.sum(axis=0)[1:]])
            return float(-np.sum(target * told) / len(logs)), gradient / len(logs)

        start = np.array([1.0, *np.zeros(logs.shape[1] - 1)])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=_CLOSE)
        slope, *shifts = found.x.tolist()
        return slope, (0.0, *shifts)

    return softmax_map(unseen.probability, regress)


def _one_vs_rest(unseen: Unseen) -> OneVsRestMap:
    return OneVsRestMap(
        tuple(
            _isotonic(
                Unseen((unseen.label == place).astype(np.int64), unseen.probability[:, place]), name
            )
            for place, name in enumerate(unseen.classes)
        )
    )


def _isotonic(unseen: Unseen, label: str = "1") -> PiecewiseMap:
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
    blocks = zip(block_rows, middles, probabilities, strict=True)
    return piecewise_map(
        [Block(int(count), float(score), float(worth)) for count, score, worth in blocks], label
    )
