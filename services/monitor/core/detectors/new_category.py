"""Whether categories come that were not seen in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import (
    OUTSIDE_CATEGORICAL,
    compared,
    group_count,
    is_numeric,
)
from services.monitor.core.detectors.port import Measurement, Sight
from services.monitor.core.resources import ChangeKind


class NewCategory:
    """Jensen-Shannon distance between the shares of values that have no bin of their own.

    The domain of a column is that of the training rows (Breck et al., Data validation for
    machine learning, MLSys 2019).
    """

    name = "new_category"
    kind = ChangeKind.DATA_DRIFT

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per categorical feature."""
        for feature, column in sight.baseline.features.items():
            if not is_numeric(column):
                known = group_count(column) - OUTSIDE_CATEGORICAL
                counts = sight.features[feature]
                parts = [range(known), [known]]
                yield compared(self.name, feature, column, counts, sight, parts)
