"""Networks in mixed precision, compiled and on a GPU, beside the same on the CPU in 32 bits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from services.trainer.adapters.learning.accelerating import Accelerator
from services.trainer.adapters.learning.crew import Batch
from services.trainer.adapters.learning.recipe import FitTask, Fitted
from services.trainer.adapters.learning.shards import ShardBench, SharedFit
from services.trainer.adapters.recipes import mlp
from services.trainer.core.acceleration import Acceleration, Device, Precision
from services.trainer.core.failures import NotAccelerated
from services.trainer.core.tasks import Task
from tests.support.crews import RECIPES, fit_task
from tests.support.fits import Recorder

# Of torch's own modules, as it loads its compiler.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

MIXED = Acceleration(precision=Precision.BFLOAT16_MIXED)
COMPILED = Acceleration(compile=True)
ON_GPU = Acceleration(Device.GPU)
HAS_GPU = torch.cuda.is_available()
HAS_COMPILER = shutil.which("g++") is not None

EACH = pytest.mark.parametrize(
    "asked",
    [
        pytest.param(MIXED, id="bfloat16"),
        pytest.param(
            COMPILED,
            id="compiled",
            marks=[
                pytest.mark.real,
                pytest.mark.skipif(not HAS_COMPILER, reason="there is no C++ compiler"),
            ],
        ),
        pytest.param(
            ON_GPU, id="gpu", marks=pytest.mark.skipif(not HAS_GPU, reason="there is no GPU")
        ),
    ],
)


def fitted(asked: Acceleration, **changes: Any) -> tuple[Fitted, Recorder]:
    heard = Recorder()
    task = fit_task("mlp", None, observer=heard, acceleration=asked, **changes)
    return RECIPES["mlp"].fit(task), heard


def same(mine: Fitted, theirs: Fitted) -> bool:
    pairs = zip(mine.estimator.layers, theirs.estimator.layers, strict=True)
    return all(
        np.array_equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True)
    )


@EACH
def test_a_network_learns_nearly_what_it_learns_without(asked: Acceleration) -> None:
    # Programs draw other random numbers.
    plain, _ = fitted(Acceleration(), parameters={"dropout": 0.0})
    faster, heard = fitted(asked, parameters={"dropout": 0.0})
    rows = fit_task("mlp", None).rows
    apart = np.abs(faster.estimator.predict_proba(rows) - plain.estimator.predict_proba(rows)).max()
    assert 0 < apart < 0.05
    assert all(np.isfinite(step.loss or 0.0) for step in heard.steps)


@EACH
def test_a_fit_that_goes_on_comes_to_the_same_bits(asked: Acceleration) -> None:
    whole, heard = fitted(asked)
    again, _ = fitted(asked, resume_from=heard.checkpoints[0])
    assert same(again, whole)


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.REGRESSION])
def test_a_network_is_judged_where_it_is_as_the_estimator_that_it_becomes(task: Task) -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(5000, 16)).astype(np.float32)
    asked = replace(fit_task("mlp", None), task=task, classes=3 if task is Task.MULTICLASS else 2)
    network = mlp._network(asked)
    estimator = mlp._estimator(asked, dict(network.state_dict()))
    accelerator = Accelerator(Acceleration(Device.GPU if HAS_GPU else Device.CPU))
    live = accelerator.judge(network.to(accelerator.device), task)
    if task is not Task.REGRESSION:
        np.testing.assert_allclose(
            live.predict_proba(rows), estimator.predict_proba(rows), atol=1e-5
        )
    np.testing.assert_allclose(live.predict(rows), estimator.predict(rows), atol=1e-5)


def test_shards_are_computed_in_the_precision_that_is_asked() -> None:
    def loss(asked: Acceleration) -> tuple[float, ...]:
        task: FitTask = fit_task("mlp", None, acceleration=asked)
        torch.manual_seed(0)
        bench = ShardBench(SharedFit.of(task, mlp._network, 2))
        weights = np.full(sum(each.numel() for each in mlp._network(task).parameters()), 0.1)
        return bench.gradients(Batch(0, 0), range(2), weights.astype(np.float32)).losses

    assert loss(MIXED) != loss(Acceleration())
    np.testing.assert_allclose(loss(MIXED), loss(Acceleration()), rtol=0.02)


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_without_a_gpu_the_fit_says_what_is_missing() -> None:
    with pytest.raises(NotAccelerated, match="CUDA"):
        fitted(ON_GPU)


@pytest.mark.real
def test_without_a_compiler_the_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    with pytest.raises(NotAccelerated, match="can't be compiled here"):
        fitted(COMPILED)
