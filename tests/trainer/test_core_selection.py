"""The choice of the winner."""

from __future__ import annotations

import pytest

from services.trainer.core.failures import DataFault
from services.trainer.core.selection import TrialOutcome, beats_baseline, best_trial
from services.trainer.core.tasks import Metric


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
