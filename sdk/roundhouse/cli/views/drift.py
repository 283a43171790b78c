"""Drift reports for people: what has changed, and why each point is an alarm or is not."""

from __future__ import annotations

from roundhouse.cli import names
from roundhouse.cli.output import OUT, day, print_table
from roundhouse.monitor.v1.monitor_pb2 import (
    AttributionDrift,
    DriftPoint,
    DriftReport,
    SliceDrift,
)

_MOST_STRONGEST = 3
_MOST_IN_SLICES = 20
_MOST_FOLLOWED = 20


def change_name(report: DriftReport) -> str:
    """`label shift`; `-` for nothing, empty in a report of before there were names."""
    return _words(DriftReport.Change.Name(report.change), "CHANGE_")


def severity_name(report: DriftReport) -> str:
    """`ticket` or `page`; `-` for nobody."""
    return _words(DriftReport.Severity.Name(report.severity), "SEVERITY_")


def print_windows(monitor: str, reports: list[DriftReport]) -> None:
    """Print a row per window."""
    print_table(
        ("report", "window", "rows", "change", "severity", "drifted", "strongest", "baseline"),
        [
            (
                names.last(report.name),
                _window(report),
                report.rows,
                change_name(report),
                severity_name(report),
                ", ".join(report.drifted_features) or "-",
                ", ".join(
                    f"{point.feature} {point.effect_size:.2f}"
                    for point in _strongest_first(report)[:_MOST_STRONGEST]
                ),
                names.short(report.baseline_version),
            )
            for report in reports
        ],
        title=f"Drift at {monitor}",
    )


def print_report(report: DriftReport) -> None:
    """Print what one window shows: alarms first, then the strongest effects."""
    named = f"{change_name(report)}, {severity_name(report)}" if report.change else "not named"
    OUT.print(f"{_window(report)}, {report.rows:,} rows: [bold]{named}[/bold]")
    for sentence in (
        report.reason,
        *(f"Broken: {fault.reason}" for fault in report.faults),
        f"Outcomes: {report.concept.reason}" if report.HasField("concept") else "",
        *report.estimate.doubts,
    ):
        if sentence:
            OUT.print(sentence, markup=False)
    print_table(
        (
            "feature",
            "detector",
            "statistic",
            "effect",
            "threshold",
            "p",
            "adjusted",
            "alarm or why not",
        ),
        [_row(point) for point in _strongest_first(report)],
        title=f"Against {names.short(report.baseline_version)}",
    )
    if report.HasField("slices"):
        _print_slices(report.slices)
    if report.HasField("attributions"):
        _print_attributions(report.attributions)


def _print_slices(slices: SliceDrift) -> None:
    if slices.unsliced_features:
        OUT.print(
            f"Training was not sliced by {', '.join(slices.unsliced_features)}: "
            "name it in slice_columns of the version's job.",
            markup=False,
        )
    print_table(
        ("slice", "feature", "", "effect", "counts from", "q", "rows", "in training"),
        [
            (
                f"{point.slice_feature} = {point.slice_value}",
                point.feature,
                "lasts" if point.lasts else "stands out" if point.stands_out else "",
                point.effect_size,
                point.threshold,
                point.q_value,
                point.window_rows,
                point.baseline_rows,
            )
            for point in slices.points[:_MOST_IN_SLICES]
        ],
        title=f"By slice: {slices.standing_out} of {slices.measured} stand out, "
        f"{slices.lasting} last" + _farthest(slices.measured, _MOST_IN_SLICES),
    )


def _print_attributions(followed: AttributionDrift) -> None:
    print_table(
        ("feature", "", "in training", "in the window", "difference"),
        [
            (
                point.feature,
                "lasts" if point.lasts else "moved" if point.moved else "",
                point.baseline,
                point.window,
                f"{point.window - point.baseline:+.3f} ± {point.half_width:.3f}",
            )
            for point in followed.points[:_MOST_FOLLOWED]
        ],
        title=f"What scores follow: {followed.moved} of {followed.measured} moved, "
        f"{followed.lasting} last" + _farthest(followed.measured, _MOST_FOLLOWED),
    )


def _farthest(measured: int, most: int) -> str:
    return f"; the {most} farthest" if measured > most else ""


def _row(point: DriftPoint) -> tuple[object, ...]:
    return (
        point.feature,
        point.algorithm,
        point.statistic,
        point.effect_size,
        point.threshold,
        point.p_value,
        point.lasting_q_value,
        point.reason or ("Alarm." if point.drifted else "No alarm."),
    )


def _strongest_first(report: DriftReport) -> list[DriftPoint]:
    return sorted(
        report.points, key=lambda point: (not (point.drifted or point.skewed), -point.effect_size)
    )


def _window(report: DriftReport) -> str:
    return f"{day(report.window_start_time)} to {day(report.window_end_time)}"


def _words(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower().replace("_", " ")
    return {"none": "-", "unspecified": ""}.get(word, word)
