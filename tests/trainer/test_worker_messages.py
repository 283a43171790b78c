"""What a worker and its helpers say to each other: whole, and nothing that runs."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from services.trainer.adapters.learning.crew import Batch, Gradients
from services.trainer.adapters.learning.shards import SharedFit
from services.trainer.adapters.recipes import cnn, mlp
from services.trainer.adapters.worker.messages import (
    Answered,
    Asked,
    MalformedMessage,
    answered,
    answered_bytes,
    asked_bytes,
    fit_bytes,
    said_by_worker,
)
from services.trainer.core.failures import OutOfMemory
from services.trainer.core.regression import TargetScale
from services.trainer.core.tasks import Task
from tests.support.crews import fit_task

SOFT = np.full((243, 3), 1 / 3, dtype=np.float32)


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        (mlp._network, {}),
        (partial(cnn._network, scale=(0.1, -1 / 3)), {"parameters": {}}),
        (mlp._network, {"task": Task.MULTICLASS, "classes": 3, "soft_label": SOFT}),
        (
            mlp._network,
            {
                "task": Task.REGRESSION,
                "classes": 0,
                "label": np.linspace(-1, 1, 243),
                "scale": TargetScale(3.5, 1 / 7),
            },
        ),
    ],
)
def test_a_fit_comes_as_it_went(network: Any, changes: dict[str, Any]) -> None:
    algorithm = "mlp" if network is mlp._network else "cnn"
    sent = SharedFit.of(fit_task(algorithm, None, **changes), network, 5)
    came = said_by_worker(fit_bytes(sent))
    assert isinstance(came, SharedFit)
    assert came.shards == 5
    function = network.func if isinstance(network, partial) else network
    assert came.network.func is function
    assert came.network.keywords == getattr(network, "keywords", {})
    for name in ("rows", "label", "soft_label"):
        np.testing.assert_equal(getattr(came.task, name), getattr(sent.task, name), strict=True)
    for name in ("parameters", "seed", "cores", "task", "classes", "scale"):
        assert getattr(came.task, name) == getattr(sent.task, name)


def test_questions_and_answers_come_as_they_went() -> None:
    weights = np.arange(7, dtype=np.float32) / 3
    sent = Asked(9, Batch(2, 11), range(3, 5), weights)
    came = said_by_worker(asked_bytes(sent))
    assert isinstance(came, Asked)
    assert (came.number, came.batch, came.shards) == (9, Batch(2, 11), range(3, 5))
    np.testing.assert_equal(came.weights, weights, strict=True)
    gradients = Gradients((0.1, float("inf")), np.stack([weights, -weights]))
    found = answered(answered_bytes(Answered(9, gradients))).found
    assert isinstance(found, Gradients)
    assert found.losses == gradients.losses
    np.testing.assert_equal(found.values, gradients.values, strict=True)
    poor = answered(answered_bytes(Answered(9, OutOfMemory("8 GiB are missing"))))
    assert poor.number == 9
    assert isinstance(poor.found, OutOfMemory)
    assert str(poor.found) == "8 GiB are missing"


@given(st.binary(max_size=200))
def test_rubbish_is_refused(data: bytes) -> None:
    for read in (said_by_worker, answered):
        with pytest.raises(MalformedMessage):
            read(data)


@given(st.integers(0, 400))
def test_what_is_cut_short_is_refused(kept: int) -> None:
    question = asked_bytes(Asked(1, Batch(0, 0), range(2), np.ones(50, dtype=np.float32)))
    with pytest.raises(MalformedMessage):
        said_by_worker(question[: min(kept, len(question) - 1)])


def test_a_pickle_is_no_message() -> None:
    with pytest.raises(MalformedMessage):
        said_by_worker(pickle.dumps(Batch(0, 0)))


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"module": "os", "name": "system", "given": {}}, "module 'os'"),
        ({"module": mlp.__name__, "name": "nothing", "given": {}}, "no function 'nothing'"),
        ({"module": mlp.__name__, "name": "RECIPE", "given": {}}, "no function 'RECIPE'"),
    ],
)
def test_only_functions_of_installed_recipes_can_be_named(named: dict[str, Any], why: str) -> None:
    sent = fit_bytes(SharedFit.of(fit_task("mlp", None), mlp._network, 2))
    fit = said_by_worker(sent)
    assert isinstance(fit, SharedFit)
    document = {
        "network": named,
        "shards": 2,
        "parameters": {},
        "seed": 1,
        "cores": 1,
        "task": fit.task.task.value,
        "classes": 2,
        "scale": None,
        "acceleration": {},
    }
    arrays = {"rows": fit.task.rows, "label": fit.task.label}
    with pytest.raises(MalformedMessage, match=why):
        said_by_worker(save(arrays, metadata={"message": json.dumps(document)}))


def test_a_network_that_nobody_else_would_find_is_refused_by_who_names_it() -> None:
    fit = SharedFit.of(fit_task("mlp", None), mlp._network, 2)
    with pytest.raises(MalformedMessage, match="no installed recipe"):
        fit_bytes(replace(fit, network=lambda task: mlp._network(task)))
