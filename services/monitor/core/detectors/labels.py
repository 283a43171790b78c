"""Whether outcomes are as frequent as in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import compared, group_count
from services.monitor.core.detectors.port import LABEL, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class LabelDrift:
    """Jensen-Shannon distance between the outcomes known so far and those of the training rows.

    Whether only the outcomes' frequency has changed is said by `naming` (Lipton, Wang and
    Smola, Detecting and correcting for label shift, ICML 2018).
    """

    name = "labels"
    kind = ChangeKind.LABEL_SHIFT

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One, if any outcome is known."""
        known = sight.labels[sight.known]
        if known.size:
            column = sight.baseline.label
            window = column.sketch.bins.counts(known)
            parts = [[group] for group in range(group_count(column) - 1)]
            yield compared(self.name, LABEL, column, window, sight, parts)
