"""A shrunken slice of the flights in which the world visibly changes.

Every eighth flight. The model learns the first two weeks of January; the next two follow as calm
traffic; then the second half of the year comes, dated on to them without a gap, so that the
weather changes from one day to the next.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from roundhouse.demo.flights import (
    EVENT_TIME,
    KEY,
    MONTHS,
    OUTCOME_TIME,
    TARGET,
    Month,
    month_files,
)

NUMERIC = ("temp", "dewp", "hour", "distance", "scheduled_minutes", "recent_delay")
CATEGORICAL = ("carrier", "origin")

WINDOW_DAYS = 7
# Mondays: the monitor's windows of seven days begin on each.
TRAINED_UNTIL = datetime(2013, 1, 14, tzinfo=UTC)
CHANGES_AT = datetime(2013, 1, 28, tzinfo=UTC)
SUMMER_FROM = datetime(2013, 7, 1, tzinfo=UTC)

_ONE_IN = 8
_CACHE = Path(__file__).resolve().parents[2] / ".roundhouse" / "flights"


@dataclass(frozen=True, slots=True)
class Flight:
    """One row to predict.

    Attributes:
        inputs: By feature, a numpy array [1, 1]; NaN and '' mean missing.
        event_us: Scheduled departure, microseconds since the epoch.
        outcome_us: When it is known whether it was late.
        has_changed: Whether it is of the changed world.
    """

    key: str
    inputs: dict[str, np.ndarray]
    event_us: int
    outcome_us: int
    outcome: int
    has_changed: bool


@dataclass(frozen=True)
class World:
    """What is trained on, and what happens afterwards."""

    training: pa.Table
    flights: list[Flight]

    def training_parquet(self) -> bytes:
        """The training rows as a file."""
        sink = io.BytesIO()
        pq.write_table(self.training, sink)
        return sink.getvalue()


@cache
def shrunken_world() -> World:
    """The slice; the flights are parsed once per machine."""
    files = month_files(_CACHE)
    winter = _sampled(files[Month("2013-01")])
    summer = pa.concat_tables([_sampled(files[month]) for month in MONTHS[6:]])
    trained = pc.less(winter[EVENT_TIME], pa.scalar(TRAINED_UNTIL))
    calm = winter.filter(pc.invert(trained)).filter(
        pc.less(winter.filter(pc.invert(trained))[EVENT_TIME], pa.scalar(CHANGES_AT))
    )
    columns = [KEY, EVENT_TIME, *NUMERIC, *CATEGORICAL, TARGET]
    shift_us = int((SUMMER_FROM - CHANGES_AT).total_seconds()) * 1_000_000
    return World(
        training=winter.filter(trained).select(columns),
        flights=_flights(calm, 0, has_changed=False) + _flights(summer, shift_us, has_changed=True),
    )


def _sampled(path: Path) -> pa.Table:
    table = pq.read_table(path)
    return table.take(np.arange(0, table.num_rows, _ONE_IN))


def _flights(table: pa.Table, shift_us: int, *, has_changed: bool) -> list[Flight]:
    numeric = {
        name: pc.cast(table[name], pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)
        for name in NUMERIC
    }
    words = {
        name: [(word or "").encode() for word in table[name].to_pylist()] for name in CATEGORICAL
    }
    event_us = pc.cast(table[EVENT_TIME], pa.int64()).to_pylist()
    outcome_us = pc.cast(table[OUTCOME_TIME], pa.int64()).to_pylist()
    keys, outcomes = table[KEY].to_pylist(), table[TARGET].to_pylist()
    return [
        Flight(
            key=keys[row],
            inputs={
                **{name: values[row].reshape(1, 1) for name, values in numeric.items()},
                **{
                    name: np.array([[values[row]]], dtype=np.object_)
                    for name, values in words.items()
                },
            },
            event_us=event_us[row] - shift_us,
            outcome_us=outcome_us[row] - shift_us,
            outcome=outcomes[row],
            has_changed=has_changed,
        )
        for row in range(table.num_rows)
    ]
