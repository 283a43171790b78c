"""DP-SGD: what it spends, that it never spends more, and that a fit goes on to the last bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from roundhouse.registry.v1 import evaluation_service_pb2

from services.trainer.adapters.learning.private import (
    PrivateFit,
    PrivateSteps,
    Steps,
    epsilon_of,
    planned,
    steps_of,
)
from services.trainer.adapters.learning.recipe import FitTask
from services.trainer.adapters.learning.trials import Workbench
from services.trainer.adapters.recipes import load_recipes
from services.trainer.core.failures import DataFault
from services.trainer.core.jobs import Trial
from services.trainer.core.parameters import completed
from services.trainer.core.privacy import Privacy
from services.trainer.core.splits import SplitShares, split_by_time
from tests.support.calls import TIMEOUT_S, refused
from tests.support.fits import Interrupted, Recorder
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_values import spec, table
from tests.trainer.test_api_versions import artifact

RECIPES = load_recipes()
DELTA = 1e-5
PRIVACY = Privacy(4.0, 1e-4, 1.0)
SMALL = {"hidden_units": 8.0, "epochs": 3.0, "batch_rows": 64.0, "learning_rate": 0.01}
IMAGES = {"height": 4.0, "width": 4.0, "filters": 2.0, "epochs": 3.0, "batch_rows": 16.0}


def by_hand(steps: Steps, delta: float) -> float:
    """Epsilon of the sampled Gaussian by its binomial expansion at whole orders.

    RDP by Mironov, Talwar and Zhang, 2019, section 3.3; its conversion by Balle et al., Hypothesis
    Testing Interpretations and Renyi Differential Privacy, 2020, theorem 21.
    """
    q, noise = steps.sample_rate, steps.noise_multiplier
    found = []
    for order in range(2, 200):
        terms = [
            math.lgamma(order + 1)
            - math.lgamma(k + 1)
            - math.lgamma(order - k + 1)
            + (order - k) * math.log1p(-q)
            + k * math.log(q)
            + (k * k - k) / (2 * noise**2)
            for k in range(order + 1)
        ]
        divergence = steps.count * np.logaddexp.reduce(terms) / (order - 1)
        found.append(
            divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        )
    return float(min(found))


@pytest.mark.parametrize(
    "steps", [Steps(1.0, 0.01, 1000), Steps(0.8, 0.05, 100), Steps(4.0, 0.2, 500)]
)
def test_epsilon_is_that_of_an_accountant_written_anew_and_above_a_tighter_one(
    steps: Steps,
) -> None:
    from opacus.accountants import PRVAccountant

    epsilon = epsilon_of([steps], DELTA)
    expected = by_hand(steps, DELTA)
    # Broken orders, which only the one under test looks at, may bound it a little better.
    assert expected * 0.98 <= epsilon <= expected + 1e-9
    tighter = PRVAccountant()
    tighter.history = [(steps.noise_multiplier, steps.sample_rate, steps.count)]
    assert 0.6 * epsilon < tighter.get_epsilon(DELTA) < epsilon


def test_steps_of_fits_that_follow_each_other_add_up() -> None:
    whole = epsilon_of([Steps(1.0, 0.02, 100)], DELTA)
    assert epsilon_of([Steps(1.0, 0.02, 40), Steps(1.0, 0.02, 60)], DELTA) == pytest.approx(whole)
    assert epsilon_of([Steps(1.0, 0.02, 40)], DELTA) < whole
    assert epsilon_of([], DELTA) == 0


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_the_least_noise_spends_nearly_all_on_all_epochs_of_both_fits(epsilon: float) -> None:
    fits = planned(Privacy(epsilon, DELTA, 1.0), (700, 850), 50, 4)
    noise = fits[0].noise_multiplier
    history = [steps_of(rows, 50, 4, noise) for rows in (700, 850)]
    assert 0.98 * epsilon < epsilon_of(history, DELTA) <= epsilon
    assert [fit.epochs for fit in fits] == [4, 4]
    assert (fits[0].before, fits[1].before) == ((), (history[0],))


def test_a_given_noise_ends_training_with_the_last_epoch_that_is_paid_for() -> None:
    privacy = Privacy(6.0, DELTA, 1.0, noise_multiplier=1.0)
    epochs = planned(privacy, (700, 850), 50, 1000)[0].epochs
    assert 1 <= epochs < 1000

    def both(count: int) -> float:
        return epsilon_of([steps_of(rows, 50, count, 1.0) for rows in (700, 850)], DELTA)

    assert both(epochs) <= 6.0 < both(epochs + 1)


@pytest.mark.parametrize(
    "privacy",
    [
        Privacy(0.01, DELTA, 1.0, noise_multiplier=0.5),
        Privacy(1e-5, DELTA, 1.0),
        Privacy(3.0, 0.01, 1.0),
    ],
)
def test_a_budget_that_pays_for_nothing_or_a_delta_that_promises_nothing_is_a_fault(
    privacy: Privacy,
) -> None:
    with pytest.raises(DataFault, match=r"privacy\."):
        planned(privacy, (700, 850), 50, 4)


def task(algorithm: str, **changes: Any) -> FitTask:
    random = np.random.default_rng(0)
    rows = random.normal(size=(120, 16)).astype(np.float32)
    parameters = SMALL if algorithm == "mlp" else IMAGES
    plain = FitTask(
        rows=rows,
        label=(rows[:, 0] > 0).astype(np.int64),
        watch_rows=rows[:40],
        watch_label=(rows[:40, 0] > 0).astype(np.int64),
        parameters=completed(parameters, RECIPES[algorithm].rules),
        seed=3,
        cores=1,
        observer=Recorder(),
        private=PrivateFit(PRIVACY, 1.0, 3),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize("algorithm", ["mlp", "cnn"])
def test_a_private_fit_goes_on_from_a_checkpoint_to_the_last_bit(algorithm: str) -> None:
    recipe = RECIPES[algorithm]
    whole, broken, rest = Recorder(), Recorder(stop_after=2), Recorder()
    unbroken = recipe.fit(task(algorithm, observer=whole))
    with pytest.raises(Interrupted):
        recipe.fit(task(algorithm, observer=broken))
    resumed = recipe.fit(task(algorithm, observer=rest, resume_from=broken.checkpoints[-1]))
    assert [*broken.steps, *rest.steps] == whole.steps
    assert unbroken.privacy == resumed.privacy is not None
    rows = task(algorithm).rows
    assert np.array_equal(
        unbroken.estimator.predict_proba(rows), resumed.estimator.predict_proba(rows)
    )
    spent = [step.epsilon for step in whole.steps]
    assert spent == sorted(set(spent), key=float)
    assert unbroken.privacy is not None
    assert spent[-1] == unbroken.privacy.epsilon
    # The last epoch and not the best one: what scores best tells of the rows.
    assert unbroken.refit_parameters["epochs"] == 3


def test_noise_and_batches_of_the_retraining_are_not_those_of_the_trial() -> None:
    first = task("mlp")
    before = (steps_of(120, 64, 3, 1.0),)
    second = task("mlp", private=PrivateFit(PRIVACY, 1.0, 3, before))
    fits = [RECIPES["mlp"].fit(each) for each in (first, second)]
    told = [fit.estimator.predict_proba(first.rows) for fit in fits]
    assert not np.array_equal(*told)
    trial, retraining = (fit.privacy for fit in fits)
    assert trial is not None
    assert retraining is not None
    assert (retraining.steps, retraining.epsilon > trial.epsilon) == (2 * trial.steps, True)


def test_a_step_moves_by_no_more_than_the_clipped_gradients_of_its_rows() -> None:
    import torch

    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    # So little noise that what is left is the clipping.
    steps = PrivateSteps(
        PrivateFit(PRIVACY, 1e-9, 1), net, optimizer, rows=40, batch_rows=10, seed=1
    )
    before = net.weight.detach().clone()
    rows = 1e6 * torch.randn(10, 4)
    steps.zero_grad()
    steps.logits(rows).mean().backward()
    steps.step()
    assert (net.weight - before).norm() <= 1.0 + 1e-4


def test_batches_have_each_row_by_chance_and_an_empty_one_is_a_step_too() -> None:
    found = RECIPES["mlp"].fit(
        task("mlp", parameters={**task("mlp").parameters, "batch_rows": 1.0, "epochs": 1.0})
    )
    assert found.privacy is not None
    assert found.privacy.steps == 120
    assert math.isfinite(float(found.estimator.predict_proba(task("mlp").rows).sum()))


def test_trial_and_retraining_together_stay_within_the_budget() -> None:
    data = table()
    split = split_by_time(data.event_time_us, SplitShares())
    asked = spec("mlp", privacy=replace(PRIVACY, noise_multiplier=1.5))
    bench = Workbench(asked, RECIPES, data, split, cores=1)
    parameters = completed({**SMALL, "epochs": 900.0}, RECIPES["mlp"].rules)
    heard = Recorder()
    outcome = bench.run_trial(Trial("only", 0, "mlp", parameters), heard, None)
    epochs = outcome.refit_parameters["epochs"]
    assert 1 <= epochs == len(heard.steps) < 900
    spent = bench.retrain(outcome, Recorder(), None).privacy
    assert spent is not None
    assert heard.steps[-1].epsilon is not None
    assert heard.steps[-1].epsilon < spent.epsilon <= PRIVACY.epsilon
    assert spent.epsilon > 0.9 * PRIVACY.epsilon


@pytest.mark.real
async def test_a_private_version_says_everywhere_what_it_has_spent(caller: TrainerCaller) -> None:
    request = caller.request("private", "mlp", privacy=PRIVACY)
    job = (await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)).name
    over = await caller.until_over(job)
    assert state_name(over) == "SUCCEEDED", over.error
    (version,) = await caller.versions()
    epsilon = float(version.labels["privacy_epsilon"])
    assert 0.9 * PRIVACY.epsilon < epsilon <= PRIVACY.epsilon
    series = [point for point in await caller.points(job, "epsilon") if point[0] == "retrain"]
    assert series[-1][3] == pytest.approx(epsilon, rel=1e-5)
    tested = await caller.registry.evaluations.GetEvaluation(
        evaluation_service_pb2.GetEvaluationRequest(name=over.evaluation), timeout=TIMEOUT_S
    )
    assert tested.metrics["privacy.epsilon"] == pytest.approx(epsilon, rel=1e-5)
    for file in ("evaluation.json", "training.json"):
        written = json.loads(await artifact(caller, version.name, file))["privacy"]
        assert written["epsilon"] == pytest.approx(epsilon, rel=1e-5)
        assert (written["delta"], written["epochs"], written["accountant"]) == (1e-4, 8, "rdp")
    told = (await artifact(caller, version.name, "card.md")).decode()
    assert "## Privacy" in told
    assert f"({epsilon:.4g}, 0.0001)-differentially private" in told


@pytest.mark.real
async def test_what_can_t_be_private_is_refused_by_its_field(caller: TrainerCaller) -> None:
    request = caller.request("open", "decision_tree", privacy=PRIVACY)
    with refused() as refusal:
        await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert refusal.fields() == ["training_job.spec.candidates[0].algorithm"]
