"""What ingestion counts; what becomes of the rows is in `roundhouse_events`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ROWS: Final = Counter(
    "roundhouse_monitor_rows",
    "Rows made durable, by what they are: observations or outcomes.",
    ("kind",),
)
WAITING_ROWS: Final = Gauge(
    "roundhouse_monitor_waiting_rows",
    "Rows that wait for a commit of the log.",
)
COMMIT_SECONDS: Final = Histogram(
    "roundhouse_monitor_commit_seconds",
    "Time of one group commit of the log, until it is durable.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
