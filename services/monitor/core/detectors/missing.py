"""Whether values are missing as often as in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.common.profiles import ColumnProfile
from services.monitor.core.detectors.comparing import Parts, compared
from services.monitor.core.detectors.port import GUARD, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class MissingDrift:
    """Jensen-Shannon distance between the shares of missing values.

    At 0 missing in training, a distance of .1 is a share of .02. A sudden loss of a fifth of
    all values is a fault of the data (`faults.nulls`), no drift. Breck et al., Data validation
    for machine learning, MLSys 2019.
    """

    name = "missing"
    kind = ChangeKind.DATA_DRIFT
    weight = GUARD

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One per feature."""
        return compared(self.name, sight, sight.baseline.features, sight.features, _parts)


def _parts(column: ColumnProfile) -> Parts:
    last = column.group_count - 1
    return [range(last), [last]]
