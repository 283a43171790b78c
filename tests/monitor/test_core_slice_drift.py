"""Where it drifts: a change in one slice is told there, and hardly anything without a change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resources import Meta
from services.monitor.core.detecting import findings, sight_of
from services.monitor.core.resources import DriftReport, DriftTest
from services.monitor.core.slice_drift import FEWEST_ROWS, MOST_POINTS, slice_drift
from services.monitor.core.stream.slicing import SliceTally
from services.monitor.core.stream.tallies import Tally
from tests.support.drift_worlds import (
    INDEPENDENT,
    QUIET,
    SEASONAL,
    Change,
    DriftWorld,
    sight_of_days,
)
from tests.support.predictions import DAY, MONDAY, World

NOW = datetime(2013, 4, 1, tzinfo=UTC)
TEST = DriftTest()
RAREST = "PHL"
SHIFTED = {f"n{place:03}" for place in range(5)}


def reported(found) -> DriftReport:
    return DriftReport(
        meta=Meta("m/driftReports/r", "r", 1, NOW, NOW),
        baseline_version="v",
        window_start=NOW,
        window_end=NOW,
        rows=1,
        points=found.points,
        slices=found.slices,
    )


def weeks_of(world: DriftWorld, weeks: int, change: Change) -> list[DriftReport]:
    """Reports on weeks after training, the oldest first."""
    profile = world.profile()
    reports: list[DriftReport] = []
    for _ in range(weeks):
        sight = sight_of_days(profile, world.days(7, change))
        reports.append(reported(findings(sight, reports[:-4:-1], TEST)))
    return reports


@pytest.fixture(scope="module")
def broken_slice() -> list[DriftReport]:
    """A shift of 1 sd of five columns in a twentieth of the rows, in a world with memory."""
    return weeks_of(DriftWorld(0, nature=SEASONAL, sliced=True), 3, Change(shift=1, only_in=RAREST))


def test_a_change_in_a_twentieth_of_the_rows_is_told_where_it_is(broken_slice):
    newest = broken_slice[-1]
    assert not any(point.is_alarm for point in newest.points)
    assert newest.slices.lasting >= 3
    lasting = {(p.slice_value, p.feature) for p in newest.slices.points if p.lasts}
    assert lasting <= {(RAREST, name) for name in SHIFTED}


def test_it_lasts_once_enough_windows_show_it(broken_slice):
    assert [report.slices.lasting > 0 for report in broken_slice] == [False, False, True]
    assert [report.slices.points[0].hits for report in broken_slice] == [1, 2, 3]


def test_points_carry_both_histograms_of_the_slice(broken_slice):
    point = broken_slice[-1].slices.points[0]
    assert (point.slice_feature, point.slice_value) == ("category", RAREST)
    assert sum(each.baseline_count for each in point.bins) == point.baseline_rows
    assert sum(each.window_count for each in point.bins) == point.window_rows
    assert FEWEST_ROWS <= point.window_rows < 300
    assert point.effect_size >= point.threshold >= TEST.effect_floor


def test_those_that_last_come_first_then_those_that_stand_out_then_the_farthest(broken_slice):
    for report in broken_slice:
        points = report.slices.points
        assert len(points) == MOST_POINTS < report.slices.measured
        ranks = [
            (not each.lasts, not each.stands_out, -each.effect_size / each.threshold)
            for each in points
        ]
        assert ranks == sorted(ranks)
        assert report.slices.standing_out == sum(each.stands_out for each in points)


@pytest.mark.parametrize("nature", [INDEPENDENT, SEASONAL])
def test_without_a_change_nothing_lasts(nature):
    reports = weeks_of(DriftWorld(7, nature=nature, sliced=True), 4, QUIET)
    assert [report.slices.lasting for report in reports] == [0] * 4
    assert all(report.slices.measured == 5 * 51 for report in reports)


def observations(world: World, rows: int, **changed) -> pa.Table:
    return world.observations(rows, MONDAY, MONDAY + 7 * DAY, **changed)


def sliced_profile(world: World, **changed):
    profile = world.profile(**changed)
    assert profile.slices, "the world's profile is sliced by origin"
    return profile


def drift_of(profile, *tables: pa.Table, slices=("origin",)):
    tally = Tally(profile, slices)
    for rows in tables:
        tally.observe(rows)
    sight = sight_of(tally, 7 * DAY)
    assert sight is not None
    return findings(sight, [], TEST).slices


def missing_at(rows: pa.Table, origin: str) -> pa.Table:
    wind = rows.column("f_wind").to_numpy().copy()
    wind[np.array(rows.column("f_origin").to_pylist()) == origin] = np.nan
    place = rows.schema.get_field_index("f_wind")
    return rows.set_column(place, "f_wind", pa.array(wind))


def test_values_that_lack_in_one_slice_are_told_there():
    world = World(1)
    found = drift_of(sliced_profile(world), missing_at(observations(world, 3000), "JFK"))
    told = [(each.slice_value, each.feature) for each in found.points if each.stands_out]
    assert told == [("JFK", "wind")]
    assert found.points[0].effect_size > 0.9


def test_a_feature_that_is_not_sent_lacks_in_every_slice():
    world = World(1)
    rows = observations(world, 3000).drop_columns(["f_wind"])
    found = drift_of(sliced_profile(world), rows)
    told = {(each.slice_value, each.feature) for each in found.points if each.stands_out}
    assert told == {(origin, "wind") for origin in ("EWR", "JFK", "LGA")}


def test_a_new_value_is_among_the_others():
    world = World(1)
    rows = observations(world, 3000, shift=2.0)
    place = rows.schema.get_field_index("f_origin")
    found = drift_of(
        sliced_profile(world), rows.set_column(place, "f_origin", pa.array(["BOS"] * 3000))
    )
    # Training had no such rows, so there is nothing to hold them against.
    assert found.measured == 0
    assert found.points == ()


def test_a_slice_of_too_few_rows_is_not_measured():
    world = World(1)
    profile = sliced_profile(world)
    assert drift_of(profile, observations(world, 120)).measured == 0
    assert drift_of(profile, observations(world, 3 * FEWEST_ROWS + 60)).measured == 9


def test_a_feature_that_training_was_not_sliced_by_is_named():
    world = World(1)
    profile = sliced_profile(world)
    found = drift_of(profile, observations(world, 600), slices=("origin", "wind"))
    assert found.unsliced == ("wind",)
    assert found.measured == 9
    old = replace(profile, slices={})
    found = drift_of(old, observations(world, 600))
    assert (found.unsliced, found.measured, found.points) == (("origin",), 0, ())


def test_without_a_feature_that_slices_there_is_nothing_to_tell():
    world = World(1)
    assert drift_of(sliced_profile(world), observations(world, 600), slices=()) is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 299), max_size=4, unique=True), st.integers(0, 2**32 - 1))
def test_rows_in_any_order_and_any_batches_are_counted_to_the_same_bits(cuts, seed):
    world = World(2)
    profile = sliced_profile(world, n=500)
    rows = observations(world, 300)
    shuffled = rows.take(pa.array(np.random.default_rng(seed).permutation(300)))
    bounds = [0, *sorted(cuts), 300]
    parts = [shuffled.slice(a, b - a) for a, b in pairwise(bounds)]
    whole, cut = Tally(profile, ("origin",)), Tally(profile, ("origin",))
    whole.observe(rows)
    for part in parts:
        cut.observe(part)
    for each in ("wind", "origin"):
        expected = whole.by_slice.sketches["origin"].columns[each]
        assert np.array_equal(cut.by_slice.sketches["origin"].columns[each], expected)
    assert expected.sum() == 300
    assert np.array_equal(
        cut.by_slice.sketches["origin"].score, whole.by_slice.sketches["origin"].score
    )


def test_slices_of_numbers_are_those_that_training_wrote_as_words():
    world = World(1)
    profile = sliced_profile(world)
    by = profile.slices["origin"].by
    named = replace(by, categories=("1", "2.5", "1000000"))
    sketches = replace(profile.slices["origin"].emptied(), by=named)
    tally = SliceTally(replace(profile, slices={"origin": sketches}), ("origin",))
    sent = {"f_origin": pa.chunked_array([[1.0, 2.5, 1e6, None, 7.0]])}
    tally.observe(sent, {}, np.full(5, 0.5, np.float32))
    assert tally.sketches["origin"].score.sum(axis=1).tolist() == [1, 1, 1, 1, 1]


def test_broken_values_are_told_by_slice_all_the_same():
    world = World(1)
    tally = Tally(sliced_profile(world), ("origin",))
    tally.observe(missing_at(observations(world, 3000), "LGA"))
    sight = sight_of(tally, 7 * DAY)
    assert sight is not None
    found = findings(sight, [], TEST)
    assert [(each.kind.value, each.feature) for each in found.faults] == [("NULL_STORM", "wind")]
    assert slice_drift(sight, found.points, [], TEST).points[0].slice_value == "LGA"
