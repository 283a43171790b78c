"""Helpers that are processes: they come, are killed or get stuck, and no bit changes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from services.trainer.adapters.learning.recipe import Step
from services.trainer.adapters.worker.helped import Patience
from services.trainer.core.parallelism import Parallelism
from tests.support.crews import RECIPES, Heard, crew_of, fit_task, plain

pytestmark = pytest.mark.real


def fitted(algorithm: str, workers: int) -> tuple[Heard, object]:
    """A fit by exactly so many workers from its first epoch on, and what it said."""
    heard = Heard()
    with crew_of(Parallelism(workers, workers)) as (crew, helpers):
        helpers.start(workers - 1)
        found = RECIPES[algorithm].fit(fit_task(algorithm, crew, observer=heard))
    return heard, found.weights


@pytest.mark.parametrize(("algorithm", "crews"), [("mlp", (2, 3, 4)), ("cnn", (3,))])
def test_one_two_three_or_four_workers_learn_the_same_bits(
    algorithm: str, crews: tuple[int, ...]
) -> None:
    alone, expected = fitted(algorithm, 1)
    for workers in crews:
        heard, weights = fitted(algorithm, workers)
        assert set(heard.workers) == {workers}
        assert plain(heard.checkpoints) == plain(alone.checkpoints)
        np.testing.assert_equal(weights, expected)


def test_a_helper_killed_in_an_epoch_is_replaced_at_the_next_and_no_bit_changes() -> None:
    alone, expected = fitted("mlp", 1)
    with crew_of(Parallelism(1, 3)) as (crew, helpers):
        helpers.start(2)
        computed = crew.gradients
        asked = 0

        def gradients(*question: object) -> object:
            nonlocal asked
            asked += 1
            if asked == 12:  # of the 8 batches of an epoch: in the midst of the second
                helpers.kill()
            return computed(*question)

        def come(step: Step) -> None:
            if step.number == 2:
                helpers.start()

        crew.gradients = gradients  # type: ignore[method-assign, assignment]
        heard = Heard(after=come)
        found = RECIPES["mlp"].fit(fit_task("mlp", crew, observer=heard))
    assert heard.workers == [3, 2, 3, 3]
    assert plain(heard.checkpoints) == plain(alone.checkpoints)
    np.testing.assert_equal(found.weights, expected)


def test_a_helper_that_is_stuck_counts_as_lost() -> None:
    alone, expected = fitted("mlp", 1)
    with crew_of(Parallelism(1, 2), Patience(silence_s=8)) as (crew, helpers):
        helpers.start()

        def stop(step: Step) -> None:
            if step.number == 1:
                os.kill(helpers.started[0].pid or 0, signal.SIGSTOP)

        heard = Heard(after=stop)
        found = RECIPES["mlp"].fit(fit_task("mlp", crew, observer=heard))
    assert heard.workers == [2, 1, 1, 1]
    assert plain(heard.checkpoints) == plain(alone.checkpoints)
    np.testing.assert_equal(found.weights, expected)


def test_a_helper_ends_with_its_worker() -> None:
    with crew_of(Parallelism(2, 2)) as (crew, helpers):
        helpers.start()
        RECIPES["mlp"].fit(fit_task("mlp", crew))
        crew.close()
        helpers.started[0].join(30)
        assert helpers.started[0].exitcode is not None
