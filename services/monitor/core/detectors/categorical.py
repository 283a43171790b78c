"""Whether categories are as frequent as in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import (
    all_but_missing,
    categorical_features,
    compared,
)
from services.monitor.core.detectors.port import USUAL, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class CategoricalDrift:
    """Jensen-Shannon distance over the frequent categories, missing values left out.

    Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory, 1991.
    """

    name = "categorical"
    kind = ChangeKind.DATA_DRIFT
    weight = USUAL

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per categorical feature."""
        columns = categorical_features(sight)
        return compared(self.name, sight, columns, sight.features, all_but_missing)
