"""Whether numbers leave the range that was seen in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import (
    OUTSIDE_NUMERIC,
    compared,
    group_count,
    is_numeric,
)
from services.monitor.core.detectors.port import Measurement, Sight
from services.monitor.core.resources import ChangeKind


class OutOfRange:
    """Jensen-Shannon distance between the shares of numbers below and above the range.

    The range is that of the training rows (Breck et al., Data validation for machine
    learning, MLSys 2019).
    """

    name = "out_of_range"
    kind = ChangeKind.DATA_DRIFT

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per numeric feature."""
        for feature, column in sight.baseline.features.items():
            if is_numeric(column):
                inside = group_count(column) - OUTSIDE_NUMERIC
                parts = [range(inside), [inside, inside + 1]]
                counts = sight.features[feature]
                yield compared(self.name, feature, column, counts, sight, parts)
