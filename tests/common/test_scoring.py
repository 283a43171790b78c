"""The measures agree with scikit-learn and with their definitions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from services.common import scoring


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(2, 60))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 1)))
    labels[0], labels[1] = 0, 1
    scores = draw(
        hnp.arrays(np.float64, n, elements=st.floats(0.01, 0.99).map(lambda x: round(x, 2)))
    )
    return labels, scores


@given(scored_rows())
def test_every_measure_agrees_with_scikit_learn(rows: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = rows
    assert scoring.auc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert scoring.log_loss(labels, scores) == pytest.approx(metrics.log_loss(labels, scores))
    assert scoring.brier(labels, scores) == pytest.approx(metrics.brier_score_loss(labels, scores))


@given(scored_rows())
def test_the_calibration_bias_is_at_most_the_calibration_error(
    rows: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = rows
    bias = scoring.calibration_bias(labels, scores)
    assert bias == pytest.approx(scores.mean() - labels.mean())
    assert abs(bias) <= scoring.expected_calibration_error(labels, scores) + 1e-12


def test_scores_equal_to_the_frequency_in_each_bin_have_no_calibration_error() -> None:
    scores = np.repeat([0.25, 0.75], 4)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    assert scoring.expected_calibration_error(labels, scores) == pytest.approx(0.0)


def test_a_score_of_exactly_one_falls_into_the_last_bin() -> None:
    assert scoring.expected_calibration_error(np.array([1, 1]), np.array([1.0, 1.0])) == 0.0


def test_auc_of_one_class_is_undefined() -> None:
    with pytest.raises(scoring.UndefinedScore):
        scoring.auc(np.array([1, 1]), np.array([0.2, 0.8]))


def test_no_row_has_no_log_loss() -> None:
    with pytest.raises(scoring.UndefinedScore):
        scoring.log_loss(np.array([]), np.array([]))


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="must be one column each"):
        scoring.brier(np.array([1, 0]), np.array([0.5]))


def test_auc_standard_error_matches_the_spread_of_repeated_samples() -> None:
    generator = np.random.default_rng(1)
    observed = []
    for _ in range(400):
        labels = np.repeat([0, 1], [300, 100])
        scores = generator.normal(size=400) + labels
        observed.append(scoring.auc(labels, scores))
    predicted = scoring.auc_standard_error(float(np.mean(observed)), 100, 300)
    assert predicted == pytest.approx(float(np.std(observed)), rel=0.2)


@given(scored_rows())
def test_the_reliability_holds_each_row_once_and_is_what_the_calibration_error_sums(
    rows: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = rows
    bins = scoring.reliability(labels, scores)
    assert sum(each.rows for each in bins) == len(labels)
    assert sum(each.rows * each.frequency for each in bins) == pytest.approx(labels.sum())
    assert all(each.lower - 1e-12 <= each.mean_score <= each.upper + 1e-12 for each in bins)
    assert all(before.upper <= after.lower for before, after in pairwise(bins))
    gaps = sum(each.rows * abs(each.mean_score - each.frequency) for each in bins)
    assert gaps / len(labels) == pytest.approx(scoring.expected_calibration_error(labels, scores))
