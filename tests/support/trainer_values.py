"""Rows and specs small enough to train on in a second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from services.trainer.core.jobs import TrainingJob
from services.trainer.core.money import PriceTable
from services.trainer.core.queues import Amounts
from services.trainer.core.spec import (
    Candidate,
    Feature,
    FeatureKind,
    JobSpec,
)
from services.trainer.core.splits import SplitShares
from services.trainer.core.states import JobState
from services.trainer.core.tables import Table
from services.trainer.core.use_cases.spending import Terms

EPOCH = datetime(2013, 1, 1, tzinfo=UTC)
SNAPSHOT = "projects/default/datasets/flights/snapshots/january"
MODEL = "projects/default/models/delays"
JOB = "projects/default/trainingJobs/first"
TERMS = Terms(timedelta(seconds=10), PriceTable("test", "USD", 100, 10), Amounts(1, 2, 8192))
"""A core costs 100 millionths a second."""


def arrow_rows(rows: int = 1200, seed: int = 0) -> pa.Table:
    """Two numbers, of which one has gaps, two words, and a label that depends on all four."""
    random = np.random.default_rng(seed)
    distance = random.normal(1000, 300, rows).astype(np.float32)
    wind = np.where(random.random(rows) < 0.2, np.nan, random.exponential(10, rows))
    origin = random.choice(["EWR", "JFK", "LGA"], rows, p=[0.5, 0.3, 0.2])
    carrier = random.choice(["AA", "B6", "UA", ""], rows, p=[0.4, 0.3, 0.2, 0.1])
    score = (
        (distance - 1000) / 300
        + np.nan_to_num(wind, nan=5.0) / 10
        + (origin == "EWR")
        - (carrier == "AA")
        - 1
    )
    late = (random.random(rows) < 1 / (1 + np.exp(-1.5 * score))).astype(np.int64)
    minutes = np.sort(random.integers(0, 60 * 24 * 50, rows))
    times = [int(EPOCH.timestamp() * 1e6) + int(minute) * 60_000_000 for minute in minutes]
    return pa.table(
        {
            "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "distance": distance,
            "wind": pa.array(wind, pa.float64(), from_pandas=True),
            "origin": origin,
            "carrier": pa.array([None if word == "" else word for word in carrier], pa.string()),
            "late": late,
        }
    )


def parquet_of(table: pa.Table) -> pa.BufferReader:
    """The table as a Parquet file in memory."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return pa.BufferReader(sink.getvalue())


def spec(*algorithms: str, **changes: Any) -> JobSpec:
    """A spec for `arrow_rows`."""
    fields: dict[str, Any] = {
        "snapshot": SNAPSHOT,
        "target": "late",
        "features": (
            Feature("distance", FeatureKind.NUMERIC),
            Feature("wind", FeatureKind.NUMERIC),
            Feature("origin", FeatureKind.CATEGORICAL),
            Feature("carrier", FeatureKind.CATEGORICAL),
        ),
        "time_column": "event_time",
        "shares": SplitShares(),
        "candidates": tuple(Candidate(each, {}) for each in algorithms or ("decision_tree",)),
        "metric": "auc",
        "seed": 7,
        "slices": ("origin",),
        "model": MODEL,
        "parent_version": "",
        "max_attempts": 3,
        "threads": 1,
    }
    return JobSpec(**{**fields, **changes})


def table(rows: int = 1200, seed: int = 0) -> Table:
    """`arrow_rows` as they are trained on."""
    from services.trainer.adapters.learning.loading import load_table

    return load_table([parquet_of(arrow_rows(rows, seed))], spec())


def job(**changes: Any) -> TrainingJob:
    """A queued job."""
    fields: dict[str, Any] = {
        "name": JOB,
        "uid": "5a0a5b8e-6a5c-4a59-9d3f-1b2f6c1d2e3f",
        "revision": 1,
        "create_time": EPOCH,
        "update_time": EPOCH,
        "labels": {"team": "ops"},
        "spec": spec(),
        "state": JobState.QUEUED,
        "pause_requested": False,
        "ready_time": EPOCH,
    }
    return TrainingJob(**{**fields, **changes})
