"""Calibrations as maps: what they keep, what they bound, and what can't be calibrated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common import scoring
from services.trainer.core.calibration import (
    MOST_KNOTS,
    Block,
    CalibrationMethod,
    check_rows,
    piecewise_map,
    sigmoid_map,
    soft_targets,
)
from services.trainer.core.calibration_maps import SOFTENINGS, STEEPEST, SigmoidMap
from services.trainer.core.failures import DataFault, NotBetter

ROUNDING = 1e-12
"""Of the mean of several blocks."""

CERTAIN = np.array([0.0, 1e-9, 1e-4, 0.3, 0.7, 0.9999, 1.0])


@st.composite
def rising(draw: st.DrawFn) -> list[Block]:
    """Blocks of a regression: scores and probabilities rise."""
    count = draw(st.integers(2, 60))
    unit = st.floats(0.001, 0.999)
    scores = sorted(draw(st.lists(unit, min_size=count, max_size=count, unique=True)))
    worth = sorted(draw(st.lists(unit, min_size=count, max_size=count, unique=True)))
    rows = draw(st.lists(st.integers(1, 500), min_size=count, max_size=count))
    return [Block(*each) for each in zip(rows, scores, worth, strict=True)]


@given(rising())
def test_lines_between_blocks_rise_gently_and_stay_between_the_blocks_probabilities(
    blocks: list[Block],
) -> None:
    try:
        found = piecewise_map(blocks)
    except NotBetter:
        rows = sum(block.rows for block in blocks)
        light = any(block.rows * MOST_KNOTS < rows for block in blocks)
        assert light or any(one.is_too_steep_to(other) for one, other in pairwise(blocks))
        return
    knots, worth = np.array(found.scores), np.array(found.probabilities)
    assert 2 <= len(knots) == len(worth) <= MOST_KNOTS
    assert np.all(np.diff(knots) > 0)
    assert np.array_equal(knots, knots.astype(np.float32))
    assert np.all(np.diff(worth) > -ROUNDING)
    assert np.all(np.diff(worth) <= STEEPEST * np.diff(knots) + ROUNDING)
    assert worth[0] >= blocks[0].probability - ROUNDING
    assert worth[-1] <= blocks[-1].probability + ROUNDING
    between = found.of(np.linspace(0, 1, 500))
    assert np.all(np.diff(between) > -ROUNDING)


def test_blocks_that_a_line_can_join_are_its_knots() -> None:
    found = piecewise_map([Block(50, 0.25, 0.1), Block(50, 0.5, 0.2), Block(50, 0.75, 0.6)])
    assert found.scores == (0.25, 0.5, 0.75)
    assert found.of(np.array([0.0, 0.25, 0.375, 0.625, 1.0])) == pytest.approx(
        [0.1, 0.1, 0.15, 0.4, 0.6]
    )


def test_blocks_of_few_rows_are_joined_with_their_neighbours_by_their_means() -> None:
    light = Block(1, 0.25, 0.0)
    heavy = Block(199, 0.5, 0.2)
    found = piecewise_map([light, heavy, Block(199, 0.75, 0.6), Block(1, 0.875, 1.0)])
    assert len(found.scores) == 2
    assert found.probabilities == pytest.approx((199 * 0.2 / 200, (199 * 0.6 + 1) / 200))


@pytest.mark.parametrize(
    "blocks",
    [[Block(900, 0.5, 0.3)], [Block(500, 0.5, 0.2), Block(500, 0.501, 0.4)]],
    ids=["one block", "a step"],
)
def test_a_curve_that_can_not_rise_is_no_calibration(blocks: list[Block]) -> None:
    with pytest.raises(NotBetter, match="rows that it did not learn from"):
        piecewise_map(blocks)


@pytest.mark.parametrize("slope", [0.0, -0.4])
def test_scores_are_never_turned_round(slope: float) -> None:
    with pytest.raises(NotBetter, match="in the 7 rows"):
        sigmoid_map(CERTAIN, lambda _: (slope, 0.0))


@given(st.floats(0.05, 2), st.floats(-2, 2), st.integers(0, 100))
def test_a_sigmoid_keeps_the_order_of_scores_also_of_certain_ones(
    slope: float, intercept: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    scores = np.concatenate([CERTAIN, random.beta(0.5, 0.5, 200)])
    label = (random.random(len(scores)) < scores).astype(np.int64)
    label[:2] = (0, 1)
    calibrated = SigmoidMap(slope, intercept).of(scores)
    assert np.all((calibrated > 0) & (calibrated < 1))
    assert np.all(np.diff(SigmoidMap(slope, intercept).of(CERTAIN)) > 0)
    assert scoring.auc(label, calibrated) == pytest.approx(scoring.auc(label, scores), abs=1e-9)


@given(st.floats(0.01, 5), st.floats(-3, 3), st.sampled_from(SOFTENINGS))
def test_the_steepest_slope_of_a_sigmoid_is_found(
    slope: float, intercept: float, softening: float
) -> None:
    found = SigmoidMap(slope, intercept, softening)
    scores = np.linspace(0, 1, 20_001)
    slopes = np.diff(found.of(scores)) / np.diff(scores)
    assert np.max(slopes) <= found.steepest * 1.05 + 1e-9


@pytest.mark.parametrize(
    ("slope", "softening"),
    [(1.0, 1e-3), (0.3, 1e-2), (0.15, 3e-3)],
    ids=["honest", "sure", "surer"],
)
def test_log_odds_are_softened_as_much_as_it_takes_and_no_more(
    slope: float, softening: float
) -> None:
    found = sigmoid_map(CERTAIN, lambda _: (slope, -0.5))
    assert found.softening == softening
    assert found.steepest <= STEEPEST
    softer = [each for each in SOFTENINGS if each < softening]
    assert all(SigmoidMap(slope, -0.5, each).steepest > STEEPEST for each in softer)


def test_scores_that_hardly_differ_are_stretched_as_far_as_it_takes() -> None:
    assert sigmoid_map(CERTAIN, lambda _: (90.0, 0.0)).softening == SOFTENINGS[-1]


def test_the_sigmoid_of_honest_scores_is_nearly_nothing() -> None:
    scores = np.linspace(0, 1, 101)
    assert SigmoidMap(1.0, 0.0).of(scores) == pytest.approx(scores, abs=1e-3)


@given(st.integers(0, 500), st.integers(0, 500))
def test_nothing_that_is_learned_is_certain(zeros: int, ones: int) -> None:
    targets = soft_targets(np.repeat([0, 1], [zeros, ones]))
    assert np.all((targets > 0) & (targets < 1))
    assert np.all(targets[:zeros] <= 0.5)
    assert np.all(targets[zeros:] >= 0.5)


@pytest.mark.parametrize(
    ("method", "rows", "ones"),
    [
        (CalibrationMethod.SIGMOID, 99, 50),
        (CalibrationMethod.SIGMOID, 200, 19),
        (CalibrationMethod.SIGMOID, 200, 181),
        (CalibrationMethod.ISOTONIC, 999, 500),
        (CalibrationMethod.ISOTONIC, 2000, 99),
    ],
)
def test_too_few_rows_are_a_data_fault_that_says_what_it_takes(
    method: CalibrationMethod, rows: int, ones: int
) -> None:
    label = np.repeat([1, 0], [ones, rows - ones])
    with pytest.raises(DataFault) as refusal:
        check_rows(method, label)
    rarer = min(ones, rows - ones)
    assert f"have {rows}, {rarer} of label {int(ones == rarer)}" in str(refusal.value)


@pytest.mark.parametrize(
    ("method", "rows", "ones"),
    [
        (CalibrationMethod.NONE, 2, 1),
        (CalibrationMethod.SIGMOID, 100, 20),
        (CalibrationMethod.ISOTONIC, 1000, 900),
    ],
)
def test_enough_rows_are_enough(method: CalibrationMethod, rows: int, ones: int) -> None:
    check_rows(method, np.repeat([1, 0], [ones, rows - ones]))
