"""What the monitor says of the window: one JSON object, as `evidently_report.py` prints it.

`python -m benchmarks.monitor.ours REFERENCE_BLOCKS WINDOW_BLOCKS COLUMN_BLOCKS`. Rows come in
batches, as they do in service, and none is kept.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.monitor.columns import BLOCK_ROWS, REFERENCE, WINDOW, block, names, peak_mib
from services.common.profiles import (
    ColumnProfile,
    Profile,
    RowSample,
    ScoredSample,
    feature_profiles,
    sample_rows,
)
from services.common.sketches import Column, FrozenBins
from services.monitor.core.detecting import findings, sight_of
from services.monitor.core.resources import DriftTest
from services.monitor.core.stream.batches import FEATURE_PREFIX
from services.monitor.core.stream.tallies import Tally
from services.monitor.core.windows import to_us

WEEK: Final = timedelta(days=7)
MONDAY: Final = datetime(2013, 3, 4, tzinfo=UTC)
_REFERENCE_WEEKS: Final = 8


def main(reference_blocks: int, window_blocks: int, column_blocks: int) -> dict[str, float]:
    """Seconds, columns that stand out from the baseline, and the peak of the memory.

    `baseline_s` is what laying the baseline down took, once and for all windows.
    """
    began = time.process_time()
    profile = baseline(reference_blocks, column_blocks)
    baseline_s = time.process_time() - began
    tally, took_s, cpu_s = Tally(profile), 0.0, 0.0
    for rows in range(window_blocks):
        batch = observations(rows, window_blocks, column_blocks)
        started, used = time.perf_counter(), time.process_time()
        tally.observe(batch)
        took_s += time.perf_counter() - started
        cpu_s += time.process_time() - used
    started, used = time.perf_counter(), time.process_time()
    sight = sight_of(tally, WEEK)
    assert sight is not None
    points = findings(sight, (), DriftTest()).points
    took_s += time.perf_counter() - started
    cpu_s += time.process_time() - used
    found = sum(point.significant for point in points if point.algorithm == "numeric")
    return {
        "took_s": took_s,
        "cpu_s": cpu_s,
        "found": found,
        "peak_mib": peak_mib(),
        "baseline_s": baseline_s,
    }


def baseline(blocks: int, column_blocks: int) -> Profile:
    """Laid down on the reference, which is eight weeks of rows; a block of columns at a time."""
    rows = blocks * BLOCK_ROWS
    times = _times(MONDAY - _REFERENCE_WEEKS * WEEK, MONDAY, rows)
    columns = column_blocks * len(names(0))
    sampled = np.linspace(0, rows - 1, min(rows, sample_rows(columns))).astype(np.int64)
    features: dict[str, ColumnProfile] = {}
    sample: dict[str, Column] = {}
    for place in range(column_blocks):
        parts = [block(REFERENCE, each, place) for each in range(blocks)]
        values = dict(zip(names(place), np.concatenate(parts, axis=1), strict=True))
        features |= feature_profiles(values, categorical=(), time_us=times)
        sample |= {name: column[sampled] for name, column in values.items()}
    scores = _scores(rows)
    some = RowSample.of(sample, features, times[sampled])
    return Profile(
        features=features,
        score=ColumnProfile.of(FrozenBins.numeric(scores), scores, times),
        label=ColumnProfile.of(FrozenBins.numeric([0, 1]), scores > 0.5, times),
        n=rows,
        sample=some,
        held_out=ScoredSample(some, scores[sampled]),
    )


def observations(rows: int, blocks: int, column_blocks: int) -> pa.Table:
    """One batch of the window's rows, as the log holds it; `rows` of `blocks`."""
    length = WEEK / blocks
    start = MONDAY + rows * length
    features = {}
    for place in range(column_blocks):
        for name, values in zip(names(place), block(WINDOW, rows, place), strict=True):
            features[FEATURE_PREFIX + name] = pa.array(values)
    first = rows * BLOCK_ROWS
    times = _times(start, start + length, BLOCK_ROWS)
    return pa.table(
        {
            "prediction_id": [f"{row}:0" for row in range(first, first + BLOCK_ROWS)],
            "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "score": _scores(BLOCK_ROWS),
            **features,
        }
    )


def _times(start: datetime, end: datetime, rows: int) -> npt.NDArray[np.int64]:
    return np.linspace(to_us(start), to_us(end), rows, endpoint=False).astype(np.int64)


def _scores(rows: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(rows).beta(2, 5, rows).astype(np.float32)


if __name__ == "__main__":
    json.dump(main(*map(int, sys.argv[1:])), sys.stdout)
