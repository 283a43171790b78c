"""What becomes of a fit's steps: one point of each series that the step tells."""

from __future__ import annotations

import asyncio

import pytest

from services.trainer.adapters.learning.recipe import Checkpoint, Step
from services.trainer.adapters.worker.observing import StopTraining, TrialObserver
from services.trainer.core.tasks import Metric
from services.trainer.core.use_cases.attempts import Order


class Link:
    """Keeps what is measured."""

    def __init__(self):
        self.points = []

    def measured(self, points):
        self.points += points


@pytest.mark.parametrize(("told", "known"), [({"gpu_utilization": 0.75}, True), ({}, False)])
async def test_how_busy_the_gpu_was_is_a_series_where_a_step_tells_it(told, known):
    link = Link()
    observer = TrialObserver(
        link, None, None, "retrain", asyncio.get_running_loop(), metric=Metric.AUC
    )
    observer.stepped(Step(1, 10, 0.6, {"auc": 0.7}, **told))
    values = {point.series: point.value for point in link.points}
    assert (values["train_loss"], values["validation_auc"]) == (0.6, 0.7)
    assert ("gpu_utilization" in values) is known
    assert values.get("gpu_utilization", 0.75) == 0.75


class Store:
    """Keeps the steps of which there is a checkpoint."""

    def __init__(self, interval_s):
        self.interval_s = interval_s
        self.steps = []

    async def save(self, _trial, checkpoint, _loss):
        self.steps.append(checkpoint.step)


@pytest.mark.parametrize(("interval_s", "kept"), [(0.0, [1, 2, 3]), (3600.0, [3])])
async def test_checkpoints_are_kept_at_intervals_and_where_a_job_stops(interval_s, kept):
    link, store = Link(), Store(interval_s)
    loop = asyncio.get_running_loop()
    observer = TrialObserver(link, store, None, "retrain", loop, metric=Metric.AUC)

    def fit():
        for step in (1, 2, 3):
            link.order = Order.GO_ON if step < 3 else Order.PAUSE
            observer.save(Checkpoint(step, b"weights"))

    with pytest.raises(StopTraining):
        await asyncio.to_thread(fit)
    assert store.steps == kept
