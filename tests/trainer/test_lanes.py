"""Processes beside the worker that run trials, and what becomes of the job when one is gone."""

from __future__ import annotations

from multiprocessing import active_children

import pytest

from services.trainer.adapters.learning.recipe import Checkpoint, Step
from services.trainer.adapters.recipes import load_recipes
from services.trainer.adapters.worker.lanes import TrialData, forked_lanes
from services.trainer.core.failures import WorkerLost
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.splits import split_by_time
from tests.support.fits import Recorder
from tests.support.trainer_values import spec, table


class FullDisk:
    """An observer that can't keep what it hears."""

    def stepped(self, step: Step) -> None:
        """Fail as the disk does."""
        raise OSError(28, "No space left on device", str(step.number))

    def save(self, checkpoint: Checkpoint) -> None:
        """Fail as the disk does."""
        raise OSError(28, "No space left on device", str(checkpoint.step))


@pytest.fixture
def data() -> TrialData:
    """Rows enough for a tree."""
    job, rows = spec(), table(2000)
    return TrialData(job, rows, split_by_time(rows.event_time_us, job.shares), None)


def test_a_process_killed_before_its_first_trial_is_a_lost_worker(data: TrialData) -> None:
    others = set(active_children())
    lanes = forked_lanes(2)
    try:
        for process in set(active_children()) - others:
            process.kill()
            process.join()
        with pytest.raises(WorkerLost, match="ended with status -9"):
            lanes.open(data, data.bench({}, 1), 2)
    finally:
        lanes.close()


def test_what_an_observer_raises_ends_the_trial_and_not_its_process(data: TrialData) -> None:
    lanes = forked_lanes(2)
    rules = load_recipes()["decision_tree"].rules
    trial = Trial("trial-0001", 0, "decision_tree", completed({}, rules))
    try:
        lanes.open(data, data.bench({}, 1), 2)
        lane = lanes.free[0]
        with pytest.raises(OSError, match="No space left"):
            lane.run_trial(trial, FullDisk(), None)
        assert lane.run_trial(trial, Recorder(), None).metrics["auc"] > 0.5
    finally:
        lanes.close()
