"""Gradients by shards: who computes which leaves no trace, and their sum is the batch's."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.adapters.learning.crew import Batch, Gradients
from services.trainer.adapters.learning.shards import ShardBench, SharedFit
from services.trainer.adapters.recipes.mlp import _network
from services.trainer.adapters.worker.helped import HelpedCrew, Patience
from services.trainer.core.failures import WorkerLost
from services.trainer.core.parallelism import Parallelism, shared_out
from tests.support.crews import RECIPES, Heard, crew_of, fit_task, plain
from tests.support.fits import Interrupted, Recorder

SHARDS = 8
LAST = Batch(epoch=1, number=7)
"""It has 19 rows; with 32 shards some of them are empty."""


def bench(shards: int = SHARDS) -> ShardBench:
    return ShardBench(SharedFit.of(fit_task("mlp", None), _network, shards))


def weights(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=16 * 8 + 8 + 8 * 4 + 4 + 4 + 1).astype(np.float32)


def together(parts: list[Gradients]) -> tuple[tuple[float, ...], bytes]:
    values = np.concatenate([part.values for part in parts])
    return tuple(loss for part in parts for loss in part.losses), values.tobytes()


@settings(max_examples=10, deadline=None)
@given(workers=st.integers(1, 8), batch=st.integers(0, 7), shards=st.sampled_from([8, 32]))
def test_shards_are_the_same_bits_whoever_computes_them(
    workers: int, batch: int, shards: int
) -> None:
    asked, given_weights = Batch(1, batch), weights()
    alone = bench(shards).gradients(asked, range(shards), given_weights)
    # Each has done something else before, and in another order.
    parts = []
    for part in reversed(shared_out(shards, workers)):
        other = bench(shards)
        other.gradients(Batch(0, batch), range(1), weights(5))
        parts.insert(0, other.gradients(asked, part, given_weights))
    assert together(parts) == together([alone])


@pytest.mark.parametrize("algorithm", ["mlp", "cnn"])
def test_the_sum_of_the_shards_trains_as_the_whole_batch_does(algorithm: str) -> None:
    crew = HelpedCrew(Parallelism(1, 1), None, "")
    few = {"dropout": 0.0, "epochs": 2.0}
    shared = RECIPES[algorithm].fit(fit_task(algorithm, crew, parameters=few))
    whole = RECIPES[algorithm].fit(fit_task(algorithm, None, parameters=few))
    assert shared.weights is not None
    assert whole.weights is not None
    for name, values in whole.weights.items():
        np.testing.assert_allclose(shared.weights[name], values, atol=2e-4)


def test_a_shared_fit_that_goes_on_from_a_checkpoint_is_the_one_that_never_stopped() -> None:
    def fit(recorder: Recorder, **changes: object) -> object:
        crew = HelpedCrew(Parallelism(1, 1), None, "")
        return RECIPES["mlp"].fit(fit_task("mlp", crew, observer=recorder, **changes))

    whole, first, second = Heard(), Recorder(stop_after=2), Recorder()
    fit(whole)
    with pytest.raises(Interrupted):
        fit(first)
    fit(second, resume_from=first.checkpoints[-1])
    assert first.steps + second.steps == whole.steps
    assert plain(first.checkpoints + second.checkpoints) == plain(whole.checkpoints)
    assert whole.workers == [1] * 4


def test_a_worker_without_the_helpers_that_it_needs_is_lost() -> None:
    with (
        crew_of(Parallelism(2, 3), Patience(gathering_s=0.2)) as (crew, _),
        pytest.raises(WorkerLost, match="1 workers were there, of 2 at least"),
    ):
        RECIPES["mlp"].fit(fit_task("mlp", crew))


def test_a_stranger_without_the_key_is_no_helper() -> None:
    with crew_of(Parallelism(2, 2), Patience(1.0, greeting_s=1)) as (crew, helpers):
        host, port = helpers.address.split(":")
        with socket.create_connection((host, int(port))), pytest.raises(WorkerLost):
            RECIPES["mlp"].fit(fit_task("mlp", crew))
