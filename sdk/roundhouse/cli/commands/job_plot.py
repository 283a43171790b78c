"""`roundhouse jobs plot`: a job's series as charts in the terminal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

import typer
from roundhouse.cli import names
from roundhouse.cli.failures import BadOutcome
from roundhouse.cli.output import OUT, as_dict, print_json
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.job_pb2 import MetricPoint
from roundhouse.trainer.v1.job_service_pb2 import ReadMetricsRequest

Curve = Sequence[tuple[int, float]]
"""Steps, ascending, with their values."""

MARKS: Final = "●○■□▲△◆◇"
_AXIS_WIDTH: Final = 12


def plot(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="Job's id or resource name.")],
    series: Annotated[str, typer.Option(help="Only this series, such as validation_auc.")] = "",
    trial: Annotated[
        list[str] | None, typer.Option(help="Only this trial; may be repeated.")
    ] = None,
    height: Annotated[int, typer.Option(min=4, max=60, help="Lines of a chart.")] = 12,
    as_json: Json = False,
) -> None:
    """Draw a job's series, one chart each, every trial with a mark of its own."""
    session = session_of(context)
    name = names.full(session.project, "trainingJobs", job)
    request = ReadMetricsRequest(parent=name, series=series)
    with session.client() as client:
        points = [
            point
            for point in every(client.jobs.ReadMetrics, request, "points")
            if not trial or point.trial in trial
        ]
    if as_json:
        print_json([as_dict(point) for point in points])
        return
    if not points:
        raise BadOutcome(f"{names.short(name)} has no such point")
    width = min(OUT.width, 100) - _AXIS_WIDTH
    for title, curves in charts_of(points).items():
        for line in chart(title, curves, width=width, height=height):
            OUT.print(line, markup=False, highlight=False)
        OUT.print()


def charts_of(points: Iterable[MetricPoint]) -> dict[str, dict[str, Curve]]:
    """Each series' curves by trial, in the order of the points."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        found[point.series][point.trial].append((point.step, point.value))
    return {series: dict(curves) for series, curves in sorted(found.items())}


def chart(title: str, curves: Mapping[str, Curve], *, width: int, height: int) -> list[str]:
    """Lines of text: the title, `height` rows with a scale, the steps, a legend.

    Where curves meet, the one that comes first is seen. More curves than marks share them.
    """
    values = [value for curve in curves.values() for _, value in curve]
    steps = [step for curve in curves.values() for step, _ in curve]
    low, high = min(values), max(values)
    cells = [[" "] * width for _ in range(height)]
    for number, curve in reversed(list(enumerate(curves.values()))):
        for step, value in curve:
            row = _place(high - value, high - low, height)
            column = _place(step - min(steps), max(steps) - min(steps), width)
            cells[row][column] = MARKS[number % len(MARKS)]
    scale = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    if math.isclose(low, high):
        scale = {0: f"{high:.4g}"}
    legend = "  ".join(f"{MARKS[at % len(MARKS)]} {trial}" for at, trial in enumerate(curves))
    left, right = str(min(steps)), str(max(steps))
    return [
        title,
        *(
            f"{scale.get(at, ''):>{_AXIS_WIDTH - 2}} ┤{''.join(row)}".rstrip()
            for at, row in enumerate(cells)
        ),
        f"{'step':>{_AXIS_WIDTH - 2}}  {left}{right:>{width - len(left)}}",
        f"{'':>{_AXIS_WIDTH}}{legend}",
    ]


def _place(offset: float, span: float, cells: int) -> int:
    return 0 if span == 0 else round(offset / span * (cells - 1))
