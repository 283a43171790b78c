"""Whether a classifier can tell the window's rows from the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import stats

from services.common import scoring
from services.common.profiles import RowSample
from services.common.sketches import Counts
from services.monitor.core.detectors.encoding import Rows, normal_scores, stretch_of_rows
from services.monitor.core.detectors.port import ROWS, USUAL, Measurement, Sight
from services.monitor.core.memory import Cut, Memory
from services.monitor.core.resources import ChangeKind

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
    weight = USUAL

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One, if the baseline has a sample and both are large enough."""
        sample = sight.baseline.sample
        if sample is None or len(sample.names) < 2:
            return
        before, now = sample.codes, sight.sample.codes
        if min(len(before), len(now)) < _FEWEST_ROWS:
            return
        known = sight.of_baseline(self.name, lambda: _Halves.of(before))
        area = _area(known, _Halves.of(now))
        error = scoring.auc_standard_error(0.5, len(before), len(now))
        own = sight.of_baseline(
            (self.name, sight.span.days), lambda: _own_effects(sample, sight.span.days)
        )
        statistic = (area - 0.5) / error
        yield Measurement(
            detector=self.name,
            subject=ROWS,
            effect=_effect(area),
            own=own,
            cut=Cut(sight.span.days, sight.span.days),
            memory=Memory(),
            noise=float((2 * error) ** 2),
            statistic=float(statistic),
            p_chance=float(stats.norm.sf(statistic)),
            baseline_rows=len(before),
            window_rows=len(now),
        )


def _effect(area: float) -> float:
    return max(0.0, 2 * area - 1)


def _own_effects(sample: RowSample, days: int) -> npt.NDArray[np.float64]:
    """float64 [stretches]: the effects of the baseline's own stretches."""
    codes, stretch = sample.codes, stretch_of_rows(sample, days)
    parts = range(min(int(stretch.max()) + 1, _MOST_STRETCHES))
    return np.array(
        [
            _effect(_area(_Halves.of(codes[stretch != part]), _Halves.of(codes[stretch == part])))
            for part in parts
            if _FEWEST_ROWS // 2 <= int((stretch == part).sum()) < len(codes) // 2
        ]
    )


@dataclass(frozen=True, slots=True)
class _Half:
    """Every other row, with what is known of the products of its columns.

    Attributes:
        rows: float64 [rows, columns], normal scores.
        means: float64 [columns, columns], of the products.
        spreads: float64 [columns, columns], variances of the products.
    """

    rows: Rows
    means: Rows
    spreads: Rows

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """What is known of these rows."""
        means, squares = rows.T @ rows / len(rows), rows**2
        return cls(rows, means, squares.T @ squares / len(rows) - means**2)


@dataclass(frozen=True, slots=True)
class _Halves:
    """A set of rows, in two halves: each is scored by a classifier of the other."""

    first: _Half
    second: _Half

    @classmethod
    def of(cls, codes: Counts) -> Self:
        """The rows with these codes."""
        rows = normal_scores(codes)
        return cls(_Half.of(rows[::2]), _Half.of(rows[1::2]))


def _area(before: _Halves, now: _Halves) -> float:
    """Area under the curve, each half of the rows scored by a classifier of the other half."""
    # The two classifiers share no scale: their rows are ranked apart.
    fitted = _Classifier(before.first, now.first), _Classifier(before.second, now.second)
    areas = [
        fitted[0].area(before.second.rows, now.second.rows),
        fitted[1].area(before.first.rows, now.first.rows),
    ]
    return float(np.mean(areas))


class _Classifier:
    """Fisher's linear discriminant over the products that differ most."""

    def __init__(self, first: _Half, second: _Half) -> None:
        # Above the diagonal: the square of a column is the same in all rows' normal scores.
        strength = np.triu(_distances(first, second), 1)
        self._left, self._right = np.unravel_index(_largest(strength.ravel()), strength.shape)
        inputs = [self._inputs(half.rows) for half in (first, second)]
        within = sum(np.cov(each, rowvar=False) for each in inputs) / 2
        within = np.atleast_2d(within)
        ridge = _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
        difference = inputs[1].mean(axis=0) - inputs[0].mean(axis=0)
        self._weights = np.linalg.solve(within + ridge, difference)

    def area(self, first: Rows, second: Rows) -> float:
        """Area under the curve of its scores of the rows of either kind."""
        scores = [self._inputs(rows) @ self._weights for rows in (first, second)]
        truth = np.repeat((0, 1), (len(first), len(second)))
        return scoring.auc(truth, np.concatenate(scores))

    def _inputs(self, rows: Rows) -> Rows:
        return rows[:, self._left] * rows[:, self._right]


def _largest(strength: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """intp [20 or all]: the places of the largest, the largest first, of equal ones the last."""
    kept = min(_KEPT, strength.size)
    # A million products take ten times as long to sort as to part.
    least = np.partition(strength, -kept)[-kept]
    places = np.flatnonzero(strength >= least)
    return places[np.argsort(strength[places], kind="stable")][::-1][:kept]


def _distances(first: _Half, second: _Half) -> Rows:
    """How many standard errors the means of each product are apart (Welch, 1947)."""
    variances = sum(np.maximum(half.spreads, 0) / len(half.rows) for half in (first, second))
    distances: Rows = np.abs(first.means - second.means) / np.sqrt(variances + 1e-9)
    return distances
