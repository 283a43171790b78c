"""Whether categories come that were not seen in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.common.profiles import ColumnProfile
from services.monitor.core.detectors.comparing import (
    OUTSIDE_CATEGORICAL,
    Parts,
    categorical_features,
    compared,
)
from services.monitor.core.detectors.port import GUARD, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class NewCategory:
    """Jensen-Shannon distance between the shares of values that have no bin of their own.

    The domain of a column is that of the training rows (Breck et al., Data validation for
    machine learning, MLSys 2019).
    """

    name = "new_category"
    kind = ChangeKind.DATA_DRIFT
    weight = GUARD

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per categorical feature."""
        return compared(self.name, sight, categorical_features(sight), sight.features, _parts)


def _parts(column: ColumnProfile) -> Parts:
    known = column.group_count - OUTSIDE_CATEGORICAL
    return [range(known), [known]]
