"""Values that are suddenly missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.common.profiles import Profile
from services.common.sketches import coarse_counts
from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import DataFault, FaultKind

_RISE: Final = 0.2
"""Share of all values, above that of the worst day of training."""


def null_storms(sight: Sight) -> Iterator[DataFault]:
    """Features of which a fifth more of all values is missing than on the worst training day."""
    worst = sight.of_baseline("null_storms", lambda: _worst_days(sight.baseline))
    for feature, usual in worst.items():
        counts = sight.features[feature]
        rows = int(counts.sum())
        if sight.unreadable.get(feature, 0) * 2 >= sight.rows or not rows:
            continue
        share = int(counts[-1]) / rows
        if share >= usual + _RISE:
            yield DataFault(
                kind=FaultKind.NULL_STORM,
                feature=feature,
                reason=f"{share:.0%} of {feature} is missing; the worst day of training had "
                f"{usual:.0%}.",
                numbers={"share": share, "worst_training_day": usual},
            )


def _worst_days(baseline: Profile) -> dict[str, float]:
    """The largest share of missing values on any day of training, by feature."""
    worst = {}
    for feature, column in baseline.features.items():
        whole = coarse_counts(column.groups, column.sketch.counts)[None, :]
        days = column.blocks[column.blocks.sum(axis=1) > 0] if column.blocks.size else whole
        worst[feature] = float((days[:, -1] / days.sum(axis=1)).max()) if len(days) else 0.0
    return worst
