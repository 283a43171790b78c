"""Whether numbers are spread otherwise than in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import compared, group_count, is_numeric
from services.monitor.core.detectors.port import Measurement, Sight
from services.monitor.core.resources import ChangeKind


class NumericDrift:
    """Jensen-Shannon distance over some 20 quantile bins, missing values left out.

    Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory, 1991.
    """

    name = "numeric"
    kind = ChangeKind.DATA_DRIFT

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per numeric feature."""
        for feature, column in sight.baseline.features.items():
            if is_numeric(column):
                parts = [[group] for group in range(group_count(column) - 1)]
                counts = sight.features[feature]
                yield compared(self.name, feature, column, counts, sight, parts)
