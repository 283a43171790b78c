"""Splits by time, and the choice of the winner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.failures import DataFault
from services.trainer.core.selection import Metric, TrialOutcome, beats_baseline, best_trial
from services.trainer.core.splits import SplitShares, rows_digest, split_by_time

TIMES = st.lists(st.integers(0, 50), min_size=20, max_size=300).map(np.array)


@given(TIMES)
def test_parts_hold_every_row_once_in_the_order_of_time(times: np.ndarray) -> None:
    split = split_by_time(times, SplitShares())
    assert sorted(split.all) == list(range(len(times)))
    assert np.all(np.diff(times[split.all]) >= 0)


@given(TIMES)
def test_rows_of_one_time_keep_their_order(times: np.ndarray) -> None:
    order = split_by_time(times, SplitShares()).all
    same_time = np.diff(times[order]) == 0
    assert np.all(np.diff(order)[same_time] > 0)


@given(TIMES)
def test_sizes_are_exact_shares_of_the_rows(times: np.ndarray) -> None:
    split = split_by_time(times, SplitShares(0.5, 0.25, 0.25))
    rows = len(times)
    assert len(split.train) == round(rows * 0.5)
    assert len(split.train) + len(split.validation) == round(rows * 0.75)


@given(TIMES)
def test_no_later_row_teaches_an_earlier_one(times: np.ndarray) -> None:
    split = split_by_time(times, SplitShares())
    assert times[split.train].max() <= times[split.validation].min()
    assert times[split.fit].max() <= times[split.test].min()


def test_digest_tells_two_splits_apart_and_repeats_for_one() -> None:
    times = np.arange(100)
    one, other = (
        split_by_time(times, SplitShares()),
        split_by_time(times, SplitShares(0.6, 0.2, 0.2)),
    )
    assert one.digest == split_by_time(times, SplitShares()).digest != other.digest
    assert rows_digest(one.test) != rows_digest(other.test)


def test_rows_that_leave_a_part_empty_are_a_data_fault() -> None:
    with pytest.raises(DataFault):
        split_by_time(np.arange(2), SplitShares())


def outcome(index: int, auc: float, log_loss: float) -> TrialOutcome:
    return TrialOutcome(index, "mlp", {"auc": auc, "log_loss": log_loss}, {})


def test_highest_auc_wins_and_lowest_log_loss_wins() -> None:
    trials = [outcome(0, 0.7, 0.4), outcome(1, 0.8, 0.5)]
    assert best_trial(trials, Metric.AUC).index == 1
    assert best_trial(trials, Metric.LOG_LOSS).index == 0


def test_of_equal_trials_the_first_in_the_spec_wins() -> None:
    assert best_trial([outcome(1, 0.7, 0.4), outcome(0, 0.7, 0.4)], Metric.AUC).index == 0


def test_a_job_without_a_trial_that_succeeded_is_a_data_fault() -> None:
    with pytest.raises(DataFault):
        best_trial([], Metric.AUC)


def test_a_model_beats_the_baseline_only_by_both_metrics() -> None:
    baseline = {"auc": 0.5, "log_loss": 0.6}
    assert beats_baseline({"auc": 0.7, "log_loss": 0.5}, baseline)
    assert not beats_baseline({"auc": 0.7, "log_loss": 0.7}, baseline)
