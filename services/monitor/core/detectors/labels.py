"""Whether outcomes are as frequent as in training."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import all_but_missing, compared
from services.monitor.core.detectors.port import LABEL, USUAL, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class LabelDrift:
    """Jensen-Shannon distance between the outcomes known so far and those of the training rows.

    Whether only the outcomes' frequency has changed is said by `naming` (Lipton, Wang and
    Smola, Detecting and correcting for label shift, ICML 2018).
    """

    name = "labels"
    kind = ChangeKind.LABEL_SHIFT
    weight = USUAL

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One, if any outcome is known."""
        known = sight.labels[sight.known]
        if known.size:
            column = sight.baseline.label
            windows = {LABEL: column.sketch.bins.counts(known)}
            yield from compared(self.name, sight, {LABEL: column}, windows, all_but_missing)
