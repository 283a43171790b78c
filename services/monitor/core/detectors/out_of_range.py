"""Whether numbers leave the range that was seen in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.common.profiles import ColumnProfile
from services.monitor.core.detectors.comparing import (
    OUTSIDE_NUMERIC,
    Parts,
    compared,
    numeric_features,
)
from services.monitor.core.detectors.port import GUARD, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class OutOfRange:
    """Jensen-Shannon distance between the shares of numbers below and above the range.

    The range is that of the training rows (Breck et al., Data validation for machine
    learning, MLSys 2019).
    """

    name = "out_of_range"
    kind = ChangeKind.DATA_DRIFT
    weight = GUARD

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per numeric feature."""
        return compared(self.name, sight, numeric_features(sight), sight.features, _parts)


def _parts(column: ColumnProfile) -> Parts:
    inside = column.group_count - OUTSIDE_NUMERIC
    return [range(inside), [inside, inside + 1]]
