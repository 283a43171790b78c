"""Slices: which rows are in them, what they scored, and which are worse than chance allows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resources import Meta
from services.common.slice_sketches import MAX_SLICE_VALUES
from services.monitor.core.quality import quality
from services.monitor.core.resources import PerformanceReport, SliceQuality
from services.monitor.core.slices import slice_qualities, standings
from services.monitor.core.stream.batches import ObservationBatch, OutcomeBatch
from services.monitor.core.stream.ledger import EndpointBook, Ledger
from services.monitor.core.stream.slicing import SliceCodes, slice_value
from services.monitor.core.windows import to_us
from tests.support.monitor_values import CHAMPION, ENDPOINT, MARCH, MONITOR
from tests.support.predictions import DAY, MONDAY, ORIGINS, World

ARRIVAL_US = to_us(MONDAY + 365 * DAY)


def codes_of(*batches, feature="x"):
    codes = SliceCodes((feature,))
    for values in batches:
        codes.observe(pa.table({f"f_{feature}": values}))
    return {key: mask.tolist() for key, mask in codes.masks()}


def test_rows_are_in_the_slice_of_their_value_and_missing_values_in_none():
    found = codes_of(["a", None, "b"], ["b", "", "a"])
    assert found == {
        ("x", "a"): [True, False, False, False, False, True],
        ("x", "b"): [False, False, True, True, False, False],
    }


def test_numbers_slice_as_people_write_them():
    assert set(codes_of([1.0, 2.5, float("nan"), None])) == {("x", "1"), ("x", "2.5")}
    assert [slice_value(each) for each in (3, 0.1, None, "a")] == ["3", "0.1", "", "a"]


def test_a_batch_that_lacks_the_feature_is_in_no_slice():
    codes = SliceCodes(("x",))
    codes.observe(pa.table({"f_x": ["a"]}))
    codes.observe(pa.table({"f_y": ["a", "a"]}))
    assert [mask.tolist() for _, mask in codes.masks()] == [[True, False, False]]


def test_only_the_first_values_are_counted_apart():
    found = codes_of([str(number) for number in range(MAX_SLICE_VALUES + 5)])
    assert [value for _, value in found] == [str(number) for number in range(MAX_SLICE_VALUES)]
    assert all(sum(mask) == 1 for mask in found.values())


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=30),
    st.integers(1, 29),
)
def test_how_rows_come_in_batches_changes_no_slice(values, cut):
    rows = pa.array(values, pa.string())
    parts = [part for part in (rows[:cut], rows[cut:]) if len(part)]
    assert codes_of(rows) == codes_of(*parts)


def test_a_window_s_slices_score_what_their_rows_score_over_all_versions():
    world = World(3)
    other = "projects/default/models/delays/versions/2"
    tables = [
        world.observations(300, MONDAY, MONDAY + DAY, version=version)
        for version in (CHAMPION, other)
    ]
    ledger = Ledger()
    book = EndpointBook(7 * DAY, DAY, None, ("origin", "gone"))
    ledger.open(ENDPOINT, book)
    for position, rows in enumerate(tables):
        versions = dict.fromkeys((CHAMPION, other))
        ledger.observe(ObservationBatch(position, ARRIVAL_US, rows), versions)
        ledger.learn(OutcomeBatch(position, ARRIVAL_US, world.outcomes(rows)))
    (tallies,) = book.windows.values()

    found = slice_qualities(list(tallies.values()))

    assert {each.value for each in found} == set(ORIGINS)
    assert sum(each.predictions for each in found) == 600
    for each in found:
        inside = [np.array(rows.column("f_origin").to_pylist()) == each.value for rows in tables]
        direct = quality(
            np.concatenate(
                [tally.labels[mask] for tally, mask in zip(tallies.values(), inside, strict=True)]
            ),
            np.concatenate(
                [tally.scores[mask] for tally, mask in zip(tallies.values(), inside, strict=True)]
            ),
        )
        assert (each.metrics, each.outcomes) == (direct.metrics, direct.outcomes)


def sliced(value, auc, half_width):
    return SliceQuality(
        feature="carrier",
        value=value,
        predictions=100,
        outcomes=90,
        metrics={} if auc is None else {"auc": auc, "log_loss": 1 - auc},
        auc_half_width=half_width,
        log_loss_half_width=half_width,
    )


def report(*slices, auc=0.7):
    return PerformanceReport(
        meta=Meta(f"{MONITOR}/performanceReports/r", "r", 1, MARCH, MARCH),
        version="",
        window_start=MARCH,
        window_end=MARCH + timedelta(weeks=1),
        predictions=1000,
        outcomes=900,
        metrics={"auc": auc, "log_loss": 1 - auc},
        auc_half_width=0.01,
        log_loss_half_width=0.01,
        slices=slices,
    )


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_the_slice_that_is_most_surely_worse_comes_first_and_one_without_interval_not_at_all(
    metric,
):
    found = standings(
        report(
            sliced("fine", 0.8, 0.02),
            sliced("rare", 0.5, 0.4),
            sliced("bad", 0.6, 0.02),
            sliced("one row", 0.1, 0.0),
            sliced("unknown", None, 0.0),
        ),
        metric,
    )
    assert [(each.slice.value, each.is_worse) for each in found] == [
        ("bad", True),
        ("fine", False),
        ("rare", False),
    ]
    assert [each.worse_by for each in found] == pytest.approx([0.1, -0.1, 0.2])


def test_the_more_slices_are_looked_at_the_more_it_takes():
    alone = standings(report(sliced("a", 0.65, 0.05)), "auc")[0].half_width
    many = standings(report(*(sliced(str(n), 0.65, 0.05) for n in range(40))), "auc")
    assert alone == pytest.approx(np.hypot(0.01, 0.05))
    assert many[0].half_width == pytest.approx(alone * 3.2272 / 1.95996, rel=1e-4)


def test_a_window_without_the_metric_has_nothing_to_compare_with():
    assert standings(report(auc=0.7), "auc") == []
