"""Two runs of one job held against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.trainer.core.comparing import (
    GRAPH_GONE,
    VERSION_GONE,
    MadeWith,
    RunRecord,
    compare,
    largest_difference,
)
from services.trainer.core.constraints import P99
from services.trainer.core.cross_validation import FoldScores
from services.trainer.core.jobs import RETRAIN, RUN_SERIES, MetricPoint, Trial
from services.trainer.core.reproduction import (
    Comparison,
    Outcome,
    Reproduction,
    Subject,
    Verdict,
    reproduction_from_json,
    reproduction_to_json,
)
from services.trainer.core.states import TrialState
from tests.support.trainer_values import EPOCH, JOB, spec

TOLERANCE = 1e-5
MADE = MadeWith("sha256:a", "sha256:b", 2, "mlp", "roundhouse 1", {"numpy": "2.4", "threads": "2"})
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SERIES = ("train_loss", "validation_auc", *sorted(RUN_SERIES))


def point(trial: str, series: str, step: int, value: float) -> MetricPoint:
    return MetricPoint(trial, series, step, value, EPOCH)


TRIALS = (
    Trial(
        "mlp-1",
        0,
        "mlp",
        {"epochs": 8.0},
        TrialState.SUCCEEDED,
        metrics={"auc": 0.75, P99: 0.25},
        chosen_parameters={"epochs": 6.0},
        folds=(FoldScores(200, 100, {"auc": 0.5}),),
    ),
    Trial("mlp-2", 1, "mlp", {"epochs": 4.0}, TrialState.PRUNED, metrics={"auc": 0.625}),
)
POINTS = (
    point("mlp-1", "train_loss", 1, 0.5),
    point("mlp-1", "validation_auc", 1, 0.75),
    point("mlp-2", "validation_auc", 1, 0.5),
    point("mlp-2", "validation_auc", 2, 0.625),
    point(RETRAIN, "train_loss", 1, 0.25),
)
RUN = RunRecord(spec(), TRIALS, POINTS, "mlp-1", MADE, "sha256:graph")


def with_points(run: RunRecord, points: Sequence[MetricPoint]) -> RunRecord:
    return replace(run, points=tuple(points))


def by_subject(found: Sequence[Comparison]) -> dict[Subject, Comparison]:
    return {each.subject: each for each in found}


def reproduction(
    original: RunRecord,
    repeated: RunRecord,
    tolerance: float = TOLERANCE,
    graph_difference: float | None = None,
) -> Reproduction:
    found = compare(original, repeated, tolerance, graph_difference=graph_difference)
    return Reproduction(JOB, tolerance, found)


def unlike(original: RunRecord, repeated: RunRecord) -> set[Subject]:
    found = reproduction(original, repeated).comparisons
    return {each.subject for each in found if each.outcome is not Outcome.EQUAL}


def points_of(number: st.SearchStrategy[float]) -> st.SearchStrategy[list[MetricPoint]]:
    places = st.tuples(
        st.sampled_from(["mlp-1", "mlp-3", RETRAIN]), st.sampled_from(SERIES), st.integers(1, 30)
    )
    return st.dictionaries(places, number, max_size=20).map(
        lambda found: [point(*place, value) for place, value in found.items()]
    )


@given(points_of(st.floats()), st.randoms())
def test_a_run_is_bit_equal_to_itself_in_whatever_order_it_was_written(
    points: list[MetricPoint], random: object
) -> None:
    shuffled = list(points)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis has no type for it
    found = reproduction(with_points(RUN, points), with_points(RUN, shuffled))
    assert [each.subject for each in found.comparisons] == list(Subject)
    assert {each.outcome for each in found.comparisons} == {Outcome.EQUAL}
    assert (found.verdict, found.parted) == (Verdict.BIT_EQUAL, None)


@given(points_of(NUMBERS), st.data())
def test_the_first_point_that_differs_is_where_they_parted(
    points: list[MetricPoint], data: st.DataObject
) -> None:
    learned = [each for each in points if each.series not in RUN_SERIES]
    assume(learned)
    changed = data.draw(st.lists(st.sampled_from(learned), min_size=1, unique=True))
    values = {
        id(each): data.draw(NUMBERS.filter(lambda x, e=each: x != e.value)) for each in changed
    }
    other = [each._replace(value=values.get(id(each), each.value)) for each in points]
    found = by_subject(compare(with_points(RUN, points), with_points(RUN, other), TOLERANCE))
    for subject, mine in (
        (Subject.POINTS, [each for each in changed if each.trial != RETRAIN]),
        (Subject.RETRAINING, [each for each in changed if each.trial == RETRAIN]),
    ):
        assert found[subject].differing == len(mine)
        if not mine:
            assert found[subject].first is None
            continue
        ids = {"mlp-1": 0, "mlp-3": 0, RETRAIN: 0}
        expected = min(mine, key=lambda each: (ids[each.trial], each.step, each.series, each.trial))
        first = found[subject].first
        assert first is not None
        assert (first.trial, first.item, first.step) == (
            expected.trial,
            expected.series,
            expected.step,
        )
        assert float(first.original) == expected.value
        assert float(first.repeated) == values[id(expected)]


@given(points_of(NUMBERS), points_of(NUMBERS))
def test_neither_run_is_preferred(first: list[MetricPoint], second: list[MetricPoint]) -> None:
    """Only what the original has not kept is another matter than what it alone has."""
    trials = {each.trial for each in first if each.series not in RUN_SERIES}
    assume(trials == {each.trial for each in second if each.series not in RUN_SERIES})
    there = compare(with_points(RUN, first), with_points(RUN, second), TOLERANCE)
    back = compare(with_points(RUN, second), with_points(RUN, first), TOLERANCE)
    for one, other in zip(there, back, strict=True):
        assert (one.outcome, one.compared, one.differing) == (
            other.outcome,
            other.compared,
            other.differing,
        )
        assert one.largest_difference == other.largest_difference
        assert math.isfinite(one.largest_difference)


@given(NUMBERS, NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_more_tolerance_never_makes_a_verdict_worse(
    value: float, other: float, one: float, two: float
) -> None:
    runs = [with_points(RUN, [point("mlp-1", "train_loss", 1, each)]) for each in (value, other)]
    strict, lax = (
        list(Verdict).index(reproduction(*runs, tolerance).verdict or Verdict.DIFFERENT)
        for tolerance in sorted((one, two))
    )
    assert lax <= strict


@pytest.mark.parametrize(
    ("value", "other", "verdict"),
    [
        (0.5, 0.5 + 1e-6, Verdict.WITHIN_TOLERANCE),
        (0.5, 0.5 + 1e-4, Verdict.DIFFERENT),
        (1e6, 1e6 + 1, Verdict.WITHIN_TOLERANCE),
        (0.0, -0.0, Verdict.WITHIN_TOLERANCE),
        (math.nan, math.nan, Verdict.BIT_EQUAL),
        (0.5, math.nan, Verdict.DIFFERENT),
        (math.inf, -math.inf, Verdict.DIFFERENT),
    ],
)
def test_numbers_are_held_to_the_tolerance_as_a_part_of_large_ones(
    value: float, other: float, verdict: Verdict
) -> None:
    runs = [with_points(RUN, [point("mlp-1", "train_loss", 1, each)]) for each in (value, other)]
    assert reproduction(*runs).verdict is verdict


def test_how_long_it_took_decides_nothing() -> None:
    slower = [point("mlp-1", series, 1, 9.0) for series in RUN_SERIES]
    trials = (replace(TRIALS[0], metrics={"auc": 0.75, P99: 9.0}, duration_s=9.0), TRIALS[1])
    repeated = replace(with_points(RUN, [*POINTS, *slower]), trials=trials)
    assert unlike(RUN, repeated) == set()


def test_points_after_a_trial_was_stopped_early_are_those_of_a_lost_attempt() -> None:
    stray = point("mlp-2", "validation_auc", 3, 0.5)
    assert unlike(RUN, with_points(RUN, [*POINTS, stray])) == set()
    running_on = (TRIALS[0], replace(TRIALS[1], state=TrialState.SUCCEEDED))
    repeated = replace(with_points(RUN, [*POINTS, stray]), trials=running_on)
    assert unlike(RUN, repeated) == {Subject.POINTS, Subject.SCORES}


@pytest.mark.parametrize(
    ("changes", "item", "step"),
    [
        ({"state": TrialState.FAILED, "metrics": {}}, "state", 0),
        ({"metrics": {"auc": 0.5}}, "auc", 0),
        ({"chosen_parameters": {"epochs": 5.0}}, "chosen.epochs", 0),
        ({"folds": (FoldScores(200, 100, {"auc": 0.75}),)}, "auc", 1),
        ({"folds": ()}, "auc", 1),
    ],
)
def test_a_trial_that_ended_otherwise_is_told_by_what_it_ended_with(
    changes: dict[str, object], item: str, step: int
) -> None:
    trials = (replace(TRIALS[0], **changes), TRIALS[1])  # type: ignore[arg-type]  # by name
    found = reproduction(RUN, replace(RUN, trials=trials))
    assert found.verdict is Verdict.DIFFERENT
    parted = found.parted
    assert parted is not None
    assert (parted.subject, parted.trial, parted.item, parted.step) == (
        Subject.SCORES,
        "mlp-1",
        item,
        step,
    )


def test_another_environment_is_told_and_decides_nothing() -> None:
    made = replace(MADE, environment={"numpy": "2.5", "threads": "2", "onnx": "1.23"})
    found = reproduction(RUN, replace(RUN, made_with=made))
    told = by_subject(found.comparisons)[Subject.ENVIRONMENT]
    assert told.first is not None
    assert (told.compared, told.first.item) == (2, "numpy")
    assert (told.first.original, told.first.repeated) == ("2.4", "2.5")
    assert (found.verdict, found.parted) == (Verdict.BIT_EQUAL, None)


@pytest.mark.parametrize(
    ("repeated", "subject"),
    [
        (replace(RUN, spec=spec(seed=8)), Subject.SPEC),
        (replace(RUN, made_with=replace(MADE, snapshot="sha256:c")), Subject.SNAPSHOT),
        (replace(RUN, made_with=replace(MADE, split="sha256:c")), Subject.SPLIT),
        (replace(RUN, winner="mlp-2"), Subject.WINNER),
    ],
)
def test_whatever_differs_is_told_by_its_subject(repeated: RunRecord, subject: Subject) -> None:
    found = reproduction(RUN, repeated)
    assert found.verdict is Verdict.DIFFERENT
    assert found.parted is not None
    assert found.parted.subject is subject


def test_the_threads_of_a_spec_are_those_of_the_environment() -> None:
    assert unlike(RUN, replace(RUN, spec=spec(threads=0))) == set()


def test_what_is_gone_is_neither_equal_nor_different() -> None:
    gone = replace(RUN, made_with=None, graph=None)
    found = reproduction(gone, RUN)
    missing = [each for each in found.comparisons if each.outcome is Outcome.NOT_KEPT]
    assert {each.subject for each in missing} == {
        Subject.SNAPSHOT,
        Subject.SPLIT,
        Subject.ENVIRONMENT,
        Subject.GRAPH,
    }
    assert {each.note for each in missing} == {VERSION_GONE}
    assert (found.verdict, found.parted) == (Verdict.UNKNOWN, None)
    assert reproduction(gone, replace(RUN, winner="mlp-2")).verdict is Verdict.DIFFERENT
    pointless = by_subject(compare(with_points(RUN, POINTS[2:]), RUN, TOLERANCE))[Subject.POINTS]
    assert (pointless.outcome, pointless.note) == (Outcome.NOT_KEPT, "no point of mlp-1 is kept")


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (1e-6, Verdict.WITHIN_TOLERANCE),
        (1e-4, Verdict.DIFFERENT),
        (None, Verdict.UNKNOWN),
    ],
)
def test_graphs_of_other_bytes_are_held_against_each_other_by_what_they_answer(
    difference: float | None, verdict: Verdict
) -> None:
    found = reproduction(RUN, replace(RUN, graph="sha256:other"), graph_difference=difference)
    told = by_subject(found.comparisons)[Subject.GRAPH]
    assert (found.verdict, told.largest_difference) == (verdict, difference or 0.0)
    assert told.note == (GRAPH_GONE if difference is None else "")
    assert found.parted is not None
    assert (found.parted.original, found.parted.repeated) == ("sha256:graph", "sha256:other")


def test_quantities_are_told_apart_by_their_deviation_and_probabilities_as_they_are() -> None:
    told, repeated = np.array([0.5, 200.0], np.float32), np.array([0.75, 201.0], np.float32)
    assert largest_difference(told, repeated) == 1.0
    assert largest_difference(told, repeated, 10.0) == 0.025
    assert largest_difference(told, repeated, 1000.0) == 0.001
    classes = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], np.float32)
    assert largest_difference(classes, classes[::-1]) == 0.5


def test_a_reproduction_comes_back_from_its_json() -> None:
    repeated = replace(with_points(RUN, POINTS[:-1]), graph="sha256:other", winner="mlp-2")
    for found in (reproduction(RUN, repeated, graph_difference=0.5), Reproduction(JOB, 0.0)):
        document = json.loads(json.dumps(reproduction_to_json(found)))
        assert reproduction_from_json(document) == found
