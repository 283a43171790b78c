"""What becomes of a fit's steps: one point of each series that the step tells."""

from __future__ import annotations

import asyncio

import pytest

from services.trainer.adapters.learning.recipe import Step
from services.trainer.adapters.worker.observing import TrialObserver
from services.trainer.core.tasks import Metric


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
