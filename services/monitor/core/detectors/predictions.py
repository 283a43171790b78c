"""Whether the model says what it said of rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator

from services.monitor.core.detectors.comparing import all_but_missing, compared
from services.monitor.core.detectors.port import SCORE, USUAL, Measurement, Sight
from services.monitor.core.resources import ChangeKind


class PredictionDrift:
    """Jensen-Shannon distance between the scores and those of the held-out rows.

    Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory, 1991.
    """

    name = "predictions"
    kind = ChangeKind.DATA_DRIFT
    weight = USUAL

    def measure(self, sight: Sight) -> Iterator[Measurement]:
        """One."""
        columns = {SCORE: sight.baseline.score}
        return compared(self.name, sight, columns, {SCORE: sight.score}, all_but_missing)
