"""Batches of predictions and of outcomes, as the log holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import pyarrow as pa

FEATURE_PREFIX: Final = "f_"

OBSERVATION_COLUMNS: Final = {
    "prediction_id": pa.string(),
    "event_time": pa.timestamp("us", tz="UTC"),
    "endpoint": pa.string(),
    "variant": pa.string(),
    "score": pa.float32(),
    "label": pa.int64(),
}
"""Columns that every batch of predictions has, beside one `f_<name>` per feature."""

OPTIONAL_OBSERVATION_COLUMNS: Final = {"policy": pa.string()}
"""Columns that a batch of predictions may have: by name, the decision policy that decided."""

OUTCOME_COLUMNS: Final = {
    "prediction_id": pa.string(),
    "outcome": pa.int64(),
    "event_time": pa.timestamp("us", tz="UTC"),
}
"""Columns that every batch of outcomes has."""


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """Predictions that became durable together.

    Attributes:
        position: In the log; grows with each batch of either kind.
        arrival_us: When they arrived, server clock, microseconds since the epoch.
        rows: With `OBSERVATION_COLUMNS` and features.
    """

    position: int
    arrival_us: int
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class OutcomeBatch:
    """Outcomes that became durable together.

    Attributes:
        position: In the log.
        arrival_us: When they arrived, server clock, microseconds since the epoch.
        rows: With `OUTCOME_COLUMNS`.
    """

    position: int
    arrival_us: int
    rows: pa.Table


Batch: TypeAlias = ObservationBatch | OutcomeBatch
