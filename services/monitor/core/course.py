"""How a column went from training to a window: by steps, or by a leap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.sketches import Counts
from services.monitor.core.histograms import jensen_shannon_distance, jensen_shannon_distances
from services.monitor.core.memory import DAYS_OF_WEEK, FEWEST_STRETCHES
from services.monitor.core.wander import Span


@dataclass(frozen=True, slots=True)
class Course:
    """The baseline's stretches, and the window after them.

    Attributes:
        stretches: int64 [stretches, groups], in time order.
        window: int64 [groups].
        lag: How many stretches the window is after the last of them, rounded up.
    """

    stretches: Counts
    window: Counts
    lag: int

    @classmethod
    def of(cls, stretches: Counts, window: Counts, last_day: int, span: Span) -> Course:
        """The course to a window.

        Args:
            stretches: int64 [stretches, groups], one a week where windows are shorter.
            window: int64 [groups].
            last_day: Of the baseline, since the epoch.
            span: Of the window.
        """
        gap_days = max(span.first_day - last_day - 1, 0)
        return cls(stretches, window, 2 + gap_days // max(span.days, DAYS_OF_WEEK))

    @property
    def leapt(self) -> bool:
        """Whether the way from the last stretch is farther than training ever went in that time.

        What was on its way in training and went on is no leap. False where there are too few
        stretches to say.
        """
        n = len(self.stretches)
        if n < FEWEST_STRETCHES:
            return False
        earlier, later = np.triu_indices(n, 1)
        near = later - earlier <= self.lag
        own = jensen_shannon_distances(self.stretches[earlier[near]], self.stretches[later[near]])
        return jensen_shannon_distance(self.stretches[-1], self.window) > float(own.max())
