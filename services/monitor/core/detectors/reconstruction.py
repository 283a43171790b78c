"""Whether rows still lie where the main directions of the training rows put them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import stats

from services.common.profiles import RowSample
from services.monitor.core.detectors.encoding import Rows, normal_scores, stretch_of_rows
from services.monitor.core.detectors.port import ROWS, USUAL, Measurement, Sight
from services.monitor.core.memory import Cut, Memory
from services.monitor.core.resources import ChangeKind

_KEPT_VARIANCE: Final = 0.65
"""Share of the variance that the kept directions carry: the default of NannyML."""

_FEWEST_ROWS: Final = 100
_FEWEST_OF_STRETCH: Final = 20


class Reconstruction:
    """How much worse a principal component analysis of the training rows restores the window's.

    The relative change of the mean error, at most 1. The directions come from one half of the
    baseline's sample and the error from the other, or it would look too small. Jolliffe,
    Principal Component Analysis, 2002; as a measure of drift: NannyML's documentation.
    """

    name = "reconstruction"
    kind = ChangeKind.JOINT_DRIFT
    weight = USUAL

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One, if the baseline has a sample and both are large enough."""
        sample = sight.baseline.sample
        if sample is None or len(sample.names) < 2:
            return
        if min(len(sample.days) // 2, len(sight.sample.codes)) < _FEWEST_ROWS:
            return
        known = sight.of_baseline(self.name, lambda: _Restored.of(sample))
        own = known.errors
        now = _errors(normal_scores(sight.sample.codes), known.main)
        if not own.mean():
            return
        days = sight.span.days
        test = stats.ttest_ind(now, own, equal_var=False)
        error = np.sqrt(now.var() / now.size + own.var() / own.size) / own.mean()
        yield Measurement(
            detector=self.name,
            subject=ROWS,
            effect=_change(now, own),
            own=sight.of_baseline((self.name, days), lambda: known.own_effects(sample, days)),
            cut=Cut(sight.span.days, sight.span.days),
            memory=Memory(),
            noise=float(error**2),
            statistic=float(test.statistic),
            p_chance=float(test.pvalue),
            baseline_rows=own.size,
            window_rows=now.size,
        )


@dataclass(frozen=True, slots=True)
class _Restored:
    """What is known of the baseline's rows before any window.

    Attributes:
        main: float64 [directions, columns], of one half of the rows.
        errors: float64 [rows], of the other half.
    """

    main: Rows
    errors: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sample: RowSample) -> Self:
        """Of the baseline's sample."""
        main = _main_directions(normal_scores(sample.codes[::2]))
        return cls(main, _errors(normal_scores(sample.codes[1::2]), main))

    def own_effects(self, sample: RowSample, days: int) -> npt.NDArray[np.float64]:
        """float64 [stretches]: the effects of the baseline's own stretches."""
        rest, stretch = sample.codes[1::2], stretch_of_rows(sample, days)[1::2]
        parts = [rest[stretch == each] for each in range(int(stretch.max()) + 1)]
        return np.array(
            [
                _change(_errors(normal_scores(part), self.main), self.errors)
                for part in parts
                if len(part) >= _FEWEST_OF_STRETCH
            ]
        )


def _main_directions(rows: Rows) -> Rows:
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False)))
    carried = np.cumsum(variances[::-1]) / max(float(variances.sum()), 1e-12)
    kept: Rows = directions.T[::-1][: int(np.searchsorted(carried, _KEPT_VARIANCE)) + 1]
    return kept


def _errors(rows: Rows, directions: Rows) -> npt.NDArray[np.float64]:
    lost = rows - rows @ directions.T @ directions
    errors: npt.NDArray[np.float64] = np.sqrt((lost**2).sum(axis=1))
    return errors


def _change(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> float:
    return float(min(1.0, abs(part.mean() / whole.mean() - 1)))
