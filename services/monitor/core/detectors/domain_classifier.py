"""Whether a classifier can tell the window's rows from the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from services.common import scoring
from services.common.sketches import Counts
from services.monitor.core.detectors.encoding import Rows, normal_scores, stretch_of_rows
from services.monitor.core.detectors.port import ROWS, Measurement, Sight
from services.monitor.core.resources import ChangeKind
from services.monitor.core.wander import Memory

_KEPT: Final = 20
"""Products that the classifier is fitted on."""

_RIDGE: Final = 0.1
_FEWEST_ROWS: Final = 100
_MOST_STRETCHES: Final = 6


class DomainClassifier:
    """Twice the area under the curve of a linear classifier, less 1, on rows it was not fitted on.

    Its inputs are products of two columns, the 20 whose means differ most on the rows that it is
    fitted on (Fan and Lv, Sure independence screening, JRSS B 2008), so it sees two columns that
    change together while neither changes alone. Rabanser, Guennemann and Lipton,
    Failing loudly, NeurIPS 2019; Lopez-Paz and Oquab, Revisiting classifier two-sample tests,
    ICLR 2017.
    """

    name = "domain_classifier"
    kind = ChangeKind.JOINT_DRIFT

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One, if the baseline has a sample and both are large enough."""
        sample = sight.baseline.sample
        if sample is None or len(sample.names) < 2:
            return
        before, now = sample.codes, sight.sample.codes
        if min(len(before), len(now)) < _FEWEST_ROWS:
            return
        area = _area(before, now)
        error = scoring.auc_standard_error(0.5, len(before), len(now))
        stretch = stretch_of_rows(sample, sight.span.days)
        parts = range(min(int(stretch.max()) + 1, _MOST_STRETCHES))
        own = [
            _effect(_area(before[stretch != part], before[stretch == part]))
            for part in parts
            if _FEWEST_ROWS // 2 <= int((stretch == part).sum()) < len(before) // 2
        ]
        statistic = (area - 0.5) / error
        yield Measurement(
            detector=self.name,
            subject=ROWS,
            effect=_effect(area),
            own=np.array(own),
            memory=Memory(0.0, 0.0, 0, 0),
            noise=float((2 * error) ** 2),
            statistic=float(statistic),
            p_chance=float(stats.norm.sf(statistic)),
            baseline_rows=len(before),
            window_rows=len(now),
        )


def _effect(area: float) -> float:
    return max(0.0, 2 * area - 1)


def _area(first_codes: Counts, second_codes: Counts) -> float:
    """Area under the curve, each half of the rows scored by a classifier of the other half."""
    first, second = normal_scores(first_codes), normal_scores(second_codes)
    scores, truth = [], []
    for half in (0, 1):
        fitted = _Classifier(first[half::2], second[half::2])
        for label, rows in enumerate((first[1 - half :: 2], second[1 - half :: 2])):
            scores.append(fitted.scores(rows))
            truth.append(np.full(len(rows), label))
    # The two classifiers share no scale: their rows are ranked apart.
    areas = [
        scoring.auc(np.concatenate(truth[i : i + 2]), np.concatenate(scores[i : i + 2]))
        for i in (0, 2)
    ]
    return float(np.mean(areas))


class _Classifier:
    """Fisher's linear discriminant over the products that differ most."""

    def __init__(self, first: Rows, second: Rows) -> None:
        means = (first.T @ first / len(first), second.T @ second / len(second))
        spreads = (
            (first**2).T @ first**2 / len(first) - means[0] ** 2,
            (second**2).T @ second**2 / len(second) - means[1] ** 2,
        )
        # Above the diagonal: the square of a column is the same in all rows' normal scores.
        strength = np.triu(_distances(means, spreads, (len(first), len(second))), 1)
        kept = np.argsort(strength, axis=None, kind="stable")[::-1][:_KEPT]
        self._left, self._right = np.unravel_index(kept, strength.shape)
        inputs = [self._inputs(rows) for rows in (first, second)]
        within = sum(np.cov(each, rowvar=False) for each in inputs) / 2
        within = np.atleast_2d(within)
        ridge = _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
        difference = inputs[1].mean(axis=0) - inputs[0].mean(axis=0)
        self._weights = np.linalg.solve(within + ridge, difference)

    def scores(self, rows: Rows) -> npt.NDArray[np.float64]:
        """float64 [rows]: the higher, the more like the second."""
        scored: npt.NDArray[np.float64] = self._inputs(rows) @ self._weights
        return scored

    def _inputs(self, rows: Rows) -> Rows:
        return rows[:, self._left] * rows[:, self._right]


def _distances(
    means: tuple[Rows, Rows], spreads: tuple[Rows, Rows], sizes: tuple[int, int]
) -> Rows:
    """How many standard errors two means are apart (Welch, 1947)."""
    variances = sum(np.maximum(each, 0) / n for each, n in zip(spreads, sizes, strict=True))
    distances: Rows = np.abs(means[0] - means[1]) / np.sqrt(variances + 1e-9)
    return distances
