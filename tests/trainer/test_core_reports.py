"""What workers report is stored once, however often it comes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.trainer.core.errors import AttemptSuperseded
from services.trainer.core.jobs import MetricPoint
from services.trainer.core.states import JobState, TrialState
from services.trainer.core.use_cases import attempts, reports, submission
from services.trainer.core.use_cases.reports import Report
from tests.support.trainer_jobs import RESULT, claimed, submitted, through_all_stages
from tests.support.trainer_memory import MemoryTrainerTx
from tests.support.trainer_values import EPOCH, JOB


def test_every_report_of_a_worker_may_be_repeated() -> None:
    tx = MemoryTrainerTx()
    job = submitted(tx)
    claim = claimed(tx)
    assert claimed(tx) == claim
    for _ in range(2):
        attempts.enter_stage(tx, claim, JobState.PREPARING)
        report = Report(1, [MetricPoint("mlp-1", "train_loss", 1, 0.5, EPOCH)], ["a line"])
        assert reports.take_report(tx, claim, report) == 1
    assert len(tx.log(job.uid)) == len(tx.points(job.uid)) == 1
    through_all_stages(tx, claim)
    for _ in range(2):
        attempts.finish(tx, claim, RESULT)
    assert len(submission.existing(tx, JOB).attempts) == 1


def test_a_report_that_was_stored_moves_no_trial_again() -> None:
    tx = MemoryTrainerTx()
    job = submitted(tx)
    claim = claimed(tx)
    (trial, *_) = tx.trials(job.uid)
    half = replace(trial, state=TrialState.RUNNING, progress=0.5, duration_s=1.0)
    over = replace(trial, state=TrialState.SUCCEEDED, progress=1.0, duration_s=2.0)
    reports.take_report(tx, claim, Report(1, [], [], [half]))
    assert tx.trial(job.uid, trial.id) == half
    assert reports.take_report(tx, claim, Report(1, [], [], [over])) == 1
    assert tx.trial(job.uid, trial.id) == half
    reports.take_report(tx, claim, Report(2, [], [], [over]))
    reports.take_report(tx, claim, Report(3, [], [], [half]))
    assert tx.trial(job.uid, trial.id) == over


def test_a_report_of_a_trial_that_the_job_lacks_is_refused() -> None:
    tx = MemoryTrainerTx()
    job = submitted(tx)
    claim = claimed(tx)
    unknown = replace(tx.trials(job.uid)[0], id="mlp-9")
    with pytest.raises(AttemptSuperseded):
        reports.take_report(tx, claim, Report(1, [], [], [unknown]))
