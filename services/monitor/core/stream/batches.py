"""Batches of predictions and of outcomes, as the log holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

FEATURE_PREFIX: Final = "f_"

SHADOW_SUFFIX: Final = "/shadow"
"""Follows the endpoint in predictions that a version in a shadow phase made for nobody."""

OBSERVATION_COLUMNS: Final = {
    "prediction_id": pa.string(),
    "event_time": pa.timestamp("us", tz="UTC"),
    "endpoint": pa.string(),
    "variant": pa.string(),
    "score": pa.float32(),
    "label": pa.int64(),
}
"""Columns that every batch of predictions has, beside one `f_<name>` per feature."""

OPTIONAL_OBSERVATION_COLUMNS: Final = {"policy": pa.string(), "fallback": pa.string()}
"""Columns that a batch of predictions may have: the decision policy that decided, by name, and
why the endpoint's fallback answered."""

LATENCY: Final = "latency_us"
FAILED: Final = "failed"

REQUEST_COLUMNS: Final = {LATENCY: pa.int64(), FAILED: pa.bool_()}
"""Columns that a batch of predictions may have: how long a request took, on its first row alone,
and whether the row stands for a request that the version could not answer."""

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
        rows: With `OBSERVATION_COLUMNS`, `REQUEST_COLUMNS` where they were sent, and features.
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


def answered(rows: pa.Table) -> pa.Table:
    """The rows that are predictions: those of failed requests left out."""
    if FAILED not in rows.column_names:
        return rows
    return rows.filter(pc.invert(pc.fill_null(rows.column(FAILED), False)))


def of_variants(rows: pa.Table) -> pa.Table:
    """The predictions that a version with a share of the traffic made: no fallback's."""
    if "fallback" not in rows.column_names:
        return rows
    return rows.filter(pc.fill_null(pc.equal(rows.column("fallback"), ""), fill_value=True))


Batch: TypeAlias = ObservationBatch | OutcomeBatch
