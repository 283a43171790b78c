"""A feature that no longer comes, or comes as another type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.monitor.core.detectors.port import Sight
from services.monitor.core.resources import DataFault, FaultKind

_SHARE: Final = 0.5
"""Share of the rows above which it is a change of the schema, and no single client."""


def changed_schemas(sight: Sight) -> Iterator[DataFault]:
    """Features that at least half of the rows lack or have as another type."""
    for feature, rows in sight.unreadable.items():
        share = rows / max(sight.rows, 1)
        if share >= _SHARE:
            yield DataFault(
                kind=FaultKind.SCHEMA_CHANGE,
                feature=feature,
                reason=f"{feature} is absent or of another type in {share:.0%} of the rows.",
                numbers={"share": share},
            )
