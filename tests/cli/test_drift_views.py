"""How drift reports are shown on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from roundhouse.cli.output import OUT
from roundhouse.cli.views.drift import print_report, print_windows
from roundhouse.monitor.v1.monitor_pb2 import (
    AttributionDrift,
    ConceptEvidence,
    DataFault,
    DriftPoint,
    DriftReport,
    QualityEstimate,
    SliceDrift,
)

T0 = datetime(2013, 3, 4, tzinfo=UTC)


def report(**fields) -> DriftReport:
    made = DriftReport(
        name="projects/p/monitors/late/driftReports/w1",
        baseline_version="projects/p/models/late/versions/2",
        rows=2_100,
        **fields,
    )
    made.window_start_time.FromDatetime(T0)
    made.window_end_time.FromDatetime(T0 + timedelta(days=7))
    return made


def point(feature: str, effect: float, *, drifted: bool = False, reason: str = "") -> DriftPoint:
    return DriftPoint(
        feature=feature,
        algorithm="numeric",
        statistic=31.5,
        effect_size=effect,
        threshold=0.125,
        p_value=0.0021,
        q_value=0.5,
        lasting_q_value=0.0087,
        drifted=drifted,
        reason=reason,
    )


def shown(print_it, *arguments) -> str:
    with OUT.capture() as capture:
        print_it(*arguments)
    return capture.get()


def test_a_report_says_of_each_point_why_it_is_an_alarm_or_is_not():
    text = shown(
        print_report,
        report(
            change=DriftReport.CHANGE_DATA_DRIFT,
            severity=DriftReport.SEVERITY_TICKET,
            reason="What goes in has changed.",
            points=[
                point("wind", 0.31, reason="No alarm: too rare."),
                point("distance", 0.2, drifted=True, reason="Alarm: it lasts."),
            ],
        ),
    )
    lines = text.splitlines()
    assert "2013-03-04 to 2013-03-11, 2,100 rows: data drift, ticket" in lines[0]
    assert lines[1] == "What goes in has changed."
    rows = [line for line in lines if "numeric" in line]
    for number in ("31.5", "0.125", "0.0021", "0.0087"):
        assert all(number in row for row in rows)
    alarm, quiet = rows
    assert "distance" in alarm, "alarms come before what is stronger and none"
    assert "Alarm: it lasts." in alarm
    assert "No alarm: too rare." in quiet


def test_a_report_shows_faults_outcomes_and_doubts_as_they_are_written():
    text = shown(
        print_report,
        report(
            change=DriftReport.CHANGE_DATA_FAULT,
            severity=DriftReport.SEVERITY_PAGE,
            faults=[DataFault(feature="wind", reason="wind [m/s] is stuck.")],
            concept=ConceptEvidence(reason="No alarm: no outcome is known yet."),
            estimate=QualityEstimate(doubts=["Values that the model saw are broken."]),
        ),
    )
    assert "data fault, page" in text
    assert "Broken: wind [m/s] is stuck." in text
    assert "Outcomes: No alarm: no outcome is known yet." in text
    assert "Values that the model saw are broken." in text


def test_windows_are_listed_with_what_changed_and_how_urgent_it_is():
    text = shown(
        print_windows,
        "late",
        [
            report(change=DriftReport.CHANGE_OUTCOME_CHANGE, severity=DriftReport.SEVERITY_PAGE),
            report(change=DriftReport.CHANGE_NONE, severity=DriftReport.SEVERITY_NONE),
        ],
    )
    changed, quiet = (line for line in text.splitlines() if "2,100" in line)
    assert "outcome change" in changed
    assert "page" in changed
    assert "outcome" not in quiet


def test_a_report_of_before_changes_had_names_is_shown_without():
    text = shown(print_report, report(points=[point("wind", 0.2)]))
    assert "not named" in text
    assert "No alarm." in text


def in_slice(value: str, **fields) -> SliceDrift.Point:
    return SliceDrift.Point(
        slice_feature="origin",
        slice_value=value,
        feature="wind",
        effect_size=0.375,
        threshold=0.125,
        window_rows=61,
        baseline_rows=4_321,
        **fields,
    )


def test_a_report_shows_where_it_drifts_and_what_training_was_not_sliced_by():
    points = [
        in_slice("EWR", stands_out=True, lasts=True, hits=3),
        in_slice("JFK", stands_out=True, hits=1),
        *(in_slice(f"V{place}") for place in range(30)),
    ]
    sliced = SliceDrift(
        measured=64, standing_out=2, lasting=1, points=points, unsliced_features=["carrier"]
    )
    text = shown(print_report, report(points=[point("wind", 0.2)], slices=sliced))
    assert "Training was not sliced by carrier: name it in slice_columns" in text
    assert "By slice: 2 of 64 stand out, 1 last; the 20 farthest" in text
    (lasting,) = (line for line in text.splitlines() if "origin = EWR" in line)
    assert all(word in lasting for word in ("wind", "lasts", "0.375", "0.125", "61", "4,321"))
    assert "stands out" in next(line for line in text.splitlines() if "origin = JFK" in line)
    assert text.count("origin = ") == 20


def test_a_report_without_slices_has_no_table_of_them():
    assert "By slice" not in shown(print_report, report(points=[point("wind", 0.2)]))


def test_a_report_shows_what_scores_follow_and_what_they_followed_in_training():
    points = [
        AttributionDrift.Point(
            feature="dew", baseline=0.625, window=0.125, half_width=0.25, moved=True, lasts=True
        ),
        AttributionDrift.Point(feature="gust", window=0.5, half_width=0.125, moved=True),
        *(AttributionDrift.Point(feature=f"other{place}") for place in range(30)),
    ]
    followed = AttributionDrift(measured=64, moved=2, lasting=1, points=points)
    text = shown(print_report, report(points=[point("wind", 0.2)], attributions=followed))
    assert "What scores follow: 2 of 64 moved, 1 last; the 20 farthest" in text
    after = text.split("What scores follow")[1].splitlines()
    (lasting,) = (line for line in after if "dew" in line)
    assert all(word in lasting for word in ("lasts", "0.625", "0.125", "-0.500 ± 0.250"))
    (moved,) = (line for line in after if "gust" in line)
    assert all(word in moved for word in ("moved", "+0.500 ± 0.125"))
    assert text.count("other") == 18


def test_a_report_without_attributions_has_no_table_of_them():
    assert "What scores follow" not in shown(print_report, report(points=[point("wind", 0.2)]))
