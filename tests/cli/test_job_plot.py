"""Charts of a job's series."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from roundhouse.cli.commands.job_plot import MARKS, chart, charts_of
from roundhouse.trainer.v1.job_pb2 import MetricPoint


def test_a_curve_falls_from_the_top_left_to_the_bottom_right() -> None:
    lines = chart("train_loss", {"0-mlp": [(1, 0.7), (2, 0.5), (3, 0.3)]}, width=21, height=5)
    assert lines == [
        "train_loss",
        "       0.7 ┤●",
        "           ┤",
        "           ┤          ●",
        "           ┤",
        "       0.3 ┤                    ●",
        "      step  1                   3",
        "            ● 0-mlp",
    ]


def test_each_trial_has_its_own_mark_and_the_legend_says_which() -> None:
    lines = chart("validation_auc", {"a": [(1, 0.6)], "b": [(1, 0.7)]}, width=10, height=4)
    assert (lines[4][12], lines[1][12]) == (MARKS[0], MARKS[1])
    assert lines[-1].split() == [MARKS[0], "a", MARKS[1], "b"]


def test_points_are_gathered_by_series_and_trial() -> None:
    points = [
        MetricPoint(trial="a", series="loss", step=1, value=0.5),
        MetricPoint(trial="a", series="auc", step=1, value=0.6),
        MetricPoint(trial="b", series="loss", step=1, value=0.4),
    ]
    assert charts_of(points) == {
        "auc": {"a": [(1, 0.6)]},
        "loss": {"a": [(1, 0.5)], "b": [(1, 0.4)]},
    }


POINTS = st.lists(
    st.tuples(st.integers(0, 10**9), st.floats(-1e300, 1e300)), min_size=1, max_size=30
)


@given(st.lists(POINTS, min_size=1, max_size=12), st.integers(10, 90), st.integers(4, 30))
def test_any_finite_curves_fit_into_the_chart(
    curves: list[list[tuple[int, float]]], width: int, height: int
) -> None:
    named = {str(at): curve for at, curve in enumerate(curves)}
    lines = chart("series", named, width=width, height=height)
    assert len(lines) == height + 3
    drawn = [line.partition("┤")[2] for line in lines[1 : height + 1]]
    assert all(len(row) <= width for row in drawn)
    assert any(mark in row for row in drawn for mark in MARKS)
