"""The monitor's benchmark draws what it says, does the work, and scores it right."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest

from benchmarks.harness import Row
from benchmarks.monitor import ingestion, ours, painting, wide
from benchmarks.monitor.columns import (
    BLOCK_COLUMNS,
    BLOCK_ROWS,
    REFERENCE,
    SHIFT,
    WINDOW,
    block,
    moved,
    names,
)
from services.monitor.core.windows import to_us
from tests.support.monitor_database import monitor_database, written
from tests.support.monitor_values import CHAMPION, MONITOR

SIZE = wide.Window(reference=1, rows=1, columns=1)


def test_a_block_is_the_same_for_whoever_draws_it_and_one_column_in_ten_has_moved():
    first = block(WINDOW, 3, 2)
    assert np.array_equal(first, block(WINDOW, 3, 2))
    assert not np.array_equal(first, block(WINDOW, 4, 2))
    assert first.shape == (BLOCK_COLUMNS, BLOCK_ROWS) == (len(names(2)), BLOCK_ROWS)
    means = first.mean(axis=1)
    assert np.flatnonzero(means > SHIFT / 2).size == moved(BLOCK_COLUMNS)
    assert (np.abs(block(REFERENCE, 3, 2).mean(axis=1)) < SHIFT / 2).all()


def test_the_monitor_s_own_code_finds_exactly_the_columns_that_moved():
    said = ours.main(SIZE.reference, SIZE.rows, SIZE.columns)
    assert said["found"] == moved(BLOCK_COLUMNS)
    assert said["peak_mib"] > 0


def test_the_batches_of_a_window_have_rows_of_their_own_all_in_the_window():
    batches = [ours.observations(rows, 2, 1) for rows in range(2)]
    ids = Counter(name for rows in batches for name in rows["prediction_id"].to_pylist())
    assert len(ids) == 2 * BLOCK_ROWS
    times = np.concatenate([rows["event_time"].cast("int64").to_numpy() for rows in batches])
    assert times.min() == to_us(ours.MONDAY)
    assert times.max() < to_us(ours.MONDAY + timedelta(days=7))
    assert (np.diff(times) > 0).all()


def test_a_program_that_found_other_columns_than_moved_is_not_measured():
    said = {"took_s": 2.0, "cpu_s": 0.5, "found": moved(BLOCK_COLUMNS), "peak_mib": 1.0}
    row = wide.row_of("ours", SIZE, said)
    assert row.value == BLOCK_COLUMNS * BLOCK_ROWS / 1e6 / 0.5
    assert row.facts["columns"] == BLOCK_COLUMNS
    with pytest.raises(wide.NotMeasured):
        wide.row_of("ours", SIZE, {**said, "found": 0})


def test_without_evidently_there_is_no_bar_and_fifty_times_as_fast_is_met():
    judged, reported = Row(wide.OURS, "", 100.0), Row(wide.EVIDENTLY, "", 2.0)
    assert wide.bars([judged]) == []
    (bar,) = wide.bars([judged, reported])
    assert (bar.value, bar.met) == (50.0, True)


def test_a_row_of_intake_is_held_against_its_own_bar():
    rows = [Row(ingestion.DURABLE, "", 60_000.0), Row(ingestion.SKETCHED, "", 200_000.0)]
    assert [bar.met for bar in ingestion.bars(rows)] == [True, False]


def test_a_view_is_as_slow_as_its_median_and_the_bars_take_the_slowest_view():
    quick = painting.row_of("loop", [(100.0, 300.0), (120.0, 500.0), (900.0, 400.0)])
    slow = painting.row_of("debug", [(200.0, 1500.0)])
    assert (quick.value, quick.facts["filled_ms"]) == (120.0, 400.0)
    first, filled = painting.bars([quick, slow])
    assert (first.value, first.met) == (200.0, True)
    assert (filled.value, filled.met) == (1500.0, False)


async def test_a_year_has_a_report_for_each_day_besides_the_half_year_of_weeks(
    sqlite_url, monkeypatch
):
    monkeypatch.setattr(painting, "DAYS", 3)
    async with monitor_database(sqlite_url) as database:
        await written(database, painting.write_year)
        drift = await written(database, lambda tx: tx.newest_drift(MONITOR, CHAMPION, 100))
        every = await written(database, lambda tx: tx.newest_performance(MONITOR, "", 100))
    assert len(every) == len(drift) == painting.WEEKS + 3
    assert len(drift[0].points) == painting.FEATURES * len(painting.DETECTORS)
