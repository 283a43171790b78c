"""Serving skew: there since a version first served, after a leap; anything else is drift."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from services.monitor.core.alarms import judged_points
from services.monitor.core.course import Course
from services.monitor.core.detectors.port import LABEL, ROWS
from services.monitor.core.resources import ChangeKind, DriftTest, Severity
from services.monitor.core.wander import Span
from tests.monitor.test_core_alarms import measured
from tests.support.drift_worlds import INDEPENDENT, QUIET, Change
from tests.system.drift_runs import judged_weeks

COLUMNS = 16
TEST = DriftTest()
HERE, THERE = np.array([900, 100]), np.array([100, 900])
LEAP = Course(np.stack([HERE] * 8), THERE, 2)
STEPS = Course(np.linspace((900, 100), (500, 500), 8).astype(np.int64), np.array([200, 800]), 7)


def judged(effects, *, from_first=True, faulty=(), test=TEST, **fields):
    """The points of one subject in windows with these effects, oldest first."""
    earlier, points = [], []
    for place, effect in enumerate(effects):
        known = earlier[: max(test.persistence_windows - 1, 1)]
        (point,) = judged_points(
            [measured(effect, **{"course": LEAP, **fields})],
            known,
            test=test,
            faulty=faulty,
            from_first=from_first and len(known) == place,
        )
        earlier.insert(0, {(point.algorithm, point.feature): point})
        points.append(point)
    return points


def test_the_way_to_the_window_is_a_leap_if_training_never_went_as_far_in_that_time():
    assert LEAP.leapt
    assert not STEPS.leapt
    assert not replace(LEAP, window=HERE).leapt
    risen = np.stack([HERE] * 4 + [THERE] * 4)
    assert Course(risen[:4], THERE, 2).leapt
    assert not Course(risen, THERE, 2).leapt, "the last days of training were there already"
    assert not Course(risen[[4, 0, 4]], HERE, 2).leapt, "training went there and back"
    assert not Course(risen[:2], THERE, 2).leapt, "two stretches don't say how far one goes"


@pytest.mark.parametrize(
    ("first_day", "days", "lag"), [(57, 7, 2), (58, 1, 2), (78, 7, 5), (78, 14, 3), (50, 7, 2)]
)
def test_the_time_to_the_window_counts_in_stretches_and_is_rounded_up(first_day, days, lag):
    course = Course.of(np.stack([HERE] * 8), THERE, 56, Span(first_day, days))
    assert course.lag == lag


SUBJECTS = {"a feature": "wind", "the outcomes": LABEL}
COURSES = {"a leap": LEAP, "steps": STEPS, "unknown": None}


@pytest.mark.parametrize("row", list(product(SUBJECTS, COURSES, (0.6, 0.05), (True, False))))
def test_every_row_of_the_truth_table_of_a_first_window(row):
    subject, course, effect, from_first = row
    (point,) = judged(
        [effect],
        subject=SUBJECTS[subject],
        course=COURSES[course],
        from_first=from_first,
    )
    assert point.skewed is (row == ("a feature", "a leap", 0.6, True))
    assert not point.drifted, "nothing has lasted yet"
    assert point.reason.startswith("Alarm" if point.skewed else "No alarm")


@pytest.mark.parametrize(
    ("effects", "skewed", "drifted"),
    [
        ((0.6, 0.6, 0.6, 0.6, 0.6, 0.6), "yyyyyy", "nnyyyy"),
        ((0.05, 0.6, 0.6, 0.6, 0.6), "nnnnn", "nnnyy"),
        ((0.6, 0.05, 0.6, 0.6, 0.6), "ynnnn", "nnnyy"),
        ((0.6, 0.6, 0.6, 0.6, 0.05, 0.6, 0.6), "yyyynnn", "nnyynyy"),
        ((0.05, 0.05, 0.05, 0.05, 0.6, 0.6, 0.6), "nnnnnnn", "nnnnnny"),
    ],
)
def test_skew_is_what_every_window_since_the_first_shows(effects, skewed, drifted):
    points = judged(effects)
    assert "".join("ny"[each.skewed] for each in points) == skewed
    assert "".join("ny"[each.drifted] for each in points) == drifted


def test_broken_values_and_too_few_rows_are_no_skew():
    assert not judged([0.6], faulty={"wind"})[0].skewed
    assert not judged([0.6], window_rows=400)[0].skewed
    assert judged([0.6], window_rows=500)[0].skewed


def test_what_a_column_does_by_itself_is_no_skew():
    assert not judged([0.5, 0.5, 0.5], own=np.full(8, 0.4))[-1].skewed


def test_a_window_that_may_alarm_at_once_names_skew_at_once():
    at_once = DriftTest(persistence_hits=1, persistence_windows=1)
    points = judged([0.6] * 3, test=at_once)
    assert all(each.skewed and each.drifted for each in points)
    assert not any(each.skewed for each in judged([0.05, 0.6, 0.6], test=at_once))


def test_more_columns_ask_for_more_in_a_first_window_too():
    own = np.full(8, 0.2)
    alone = judged([0.6], own=own)[0]
    quiet = [measured(0.05, subject=f"c{place}", own=own, p_chance=0.5) for place in range(999)]
    among = judged_points(
        [measured(0.6, own=own, course=LEAP), *quiet], [], test=TEST, from_first=True
    )[0]
    assert alone.skewed
    assert not among.skewed


def kinds(changes):
    reports = list(judged_weeks(5, changes, nature=INDEPENDENT, columns=COLUMNS))
    return [report.change for report in reports], [report.severity for report in reports]


def test_a_shift_since_deployment_is_skew_from_the_first_week_and_a_later_one_is_drift():
    shift = Change(shift=1.0)
    named, severities = kinds([shift] * 5)
    assert named == [ChangeKind.SERVING_SKEW] * 5
    assert set(severities) == {Severity.TICKET}
    named, _ = kinds([QUIET, QUIET, *[shift] * 4])
    assert named == [*[ChangeKind.NONE] * 4, *[ChangeKind.DATA_DRIFT] * 2]


def test_skew_does_not_hide_a_drift_that_came_later():
    more = Change(shift=1.0, shifted=8)
    named, _ = kinds([Change(shift=1.0, shifted=5)] * 4 + [more] * 4)
    assert named[:4] == [ChangeKind.SERVING_SKEW] * 4
    assert named[-1] is ChangeKind.DATA_DRIFT


def test_whole_rows_are_never_skewed_by_themselves():
    points = judged([0.6] * 4, subject=ROWS, course=None)
    assert [each.drifted for each in points] == [False, False, True, True]
    assert not any(each.skewed for each in points)
