"""Whether numbers are spread otherwise than in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import all_but_missing, compared, numeric_features
from services.monitor.core.detectors.port import USUAL, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class NumericDrift:
    """Jensen-Shannon distance over some 20 quantile bins, missing values left out.

    Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory, 1991.
    """

    name = "numeric"
    kind = ChangeKind.DATA_DRIFT
    weight = USUAL

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per numeric feature."""
        columns = numeric_features(sight)
        return compared(self.name, sight, columns, sight.features, all_but_missing)
