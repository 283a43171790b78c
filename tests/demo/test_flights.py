"""The flights are joined rightly, and no feature knows what could not be known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from roundhouse.demo import flights


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[flights.Month, pa.Table]:
    files = flights.month_files(tmp_path_factory.mktemp("flights"))
    return {month: pq.read_table(file) for month, file in files.items()}


@pytest.fixture(scope="session")
def year(months: dict[flights.Month, pa.Table]) -> pa.Table:
    return pa.concat_tables(months.values())


def test_every_flight_of_the_year_is_there_once(year: pa.Table) -> None:
    assert year.num_rows == 336_776
    assert pc.count_distinct(year[flights.KEY]).as_py() == 336_776


def test_the_share_of_late_flights_by_month_is_the_known_one_and_the_cancelled(
    months: dict[flights.Month, pa.Table],
) -> None:
    # The design's .227 to .326 leave out cancelled and diverted flights, which are late here.
    shares = [round(float(pc.mean(table[flights.TARGET]).as_py()), 3) for table in months.values()]
    known = [0.245, 0.271, 0.253, 0.299, 0.238, 0.337, 0.341, 0.253, 0.15, 0.175, 0.183, 0.353]
    assert shares == known


def test_weather_and_planes_are_joined_where_they_are_known(year: pa.Table) -> None:
    missing = {name: year[name].null_count for name in ("temp", "pressure", "seats", "plane_age")}
    assert missing == {"temp": 1573, "pressure": 38_788, "seats": 52_606, "plane_age": 57_912}


def test_a_flight_has_its_own_hours_weather_and_its_own_plane(year: pa.Table) -> None:
    # UA 1545 at 05:15 on 1 January, plane N14228; weather.csv and planes.csv say the rest.
    (flight,) = year.filter(pc.equal(year[flights.KEY], "20130101T1015-UA-1545-EWR")).to_pylist()
    assert flight["temp"] == pytest.approx(39.02)
    assert flight["humid"] == pytest.approx(64.43)
    assert (flight["manufacturer"], flight["seats"], flight["plane_age"]) == ("BOEING", 149, 14)
    assert flight["event_time"].isoformat() == "2013-01-01T10:15:00+00:00"
    assert (flight["day_of_week"], flight["hour"], flight["late"]) == (1, 5, 0)


def test_months_are_in_the_order_of_departure(months: dict[flights.Month, pa.Table]) -> None:
    for table in months.values():
        assert (np.diff(pc.cast(table[flights.EVENT_TIME], pa.int64()).to_numpy()) >= 0).all()


def test_an_outcome_is_known_only_after_departure(year: pa.Table) -> None:
    # A flight may leave up to 43 minutes early, but flies and taxis at least as long.
    assert pc.all(pc.greater(year[flights.OUTCOME_TIME], year[flights.EVENT_TIME])).as_py()


def test_recent_delay_does_not_change_when_the_last_hour_does() -> None:
    minutes = np.arange(0.0, 600.0, 5.0)
    origins = np.full(len(minutes), "EWR", dtype=object)
    rng = np.random.default_rng(7)
    delays = rng.integers(-10, 120, len(minutes)).astype(float)
    before = flights._recent_delay(origins, minutes, delays)
    for i in range(len(minutes)):
        unknown = minutes + delays > minutes[i] - flights.KNOWN_BEFORE_MIN
        changed = np.where(unknown & (minutes + delays + 500 > minutes[i]), delays + 500, delays)
        after = flights._recent_delay(origins, minutes, changed)
        assert before[i] == after[i] or (np.isnan(before[i]) and np.isnan(after[i]))


def test_the_second_call_reads_what_the_first_made(tmp_path: Path) -> None:
    first = flights.month_files(tmp_path)
    stamps = [file.stat().st_mtime_ns for file in first.values()]
    assert flights.month_files(tmp_path) == first
    assert [file.stat().st_mtime_ns for file in first.values()] == stamps
    assert [path.name for path in tmp_path.iterdir()] == ["flights-1"]


def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(flights.FlightsMissing, match="demo"):
        flights.month_files(tmp_path)
