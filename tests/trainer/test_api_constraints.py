"""Jobs whose version must be small and fast: real trainer, real registry."""

from __future__ import annotations

import json

import pytest
from roundhouse.registry.v1 import model_service_pb2
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.core.constraints import P99, SIZE, Constraints
from services.trainer.core.parents import Mode
from services.trainer.core.spec import Candidate
from tests.support.calls import TIMEOUT_S, refused
from tests.support.trainer_api import TrainerCaller, csv_rows, state_name

pytestmark = pytest.mark.real
LARGE = Candidate("random_forest", {"trees": 50, "max_depth": 8})
SMALL = Candidate("decision_tree", {"max_depth": 1})
ANY_MS = 1e6


async def trials(caller: TrainerCaller, job: job_pb2.TrainingJob) -> list[job_pb2.Trial]:
    request = job_service_pb2.ListTrialsRequest(parent=job.name)
    return list((await caller.jobs.ListTrials(request, timeout=TIMEOUT_S)).trials)


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def test_a_better_candidate_that_is_too_large_does_not_win(caller: TrainerCaller) -> None:
    job = await caller.until_over(
        await caller.submit(
            "first",
            candidates=(LARGE, SMALL),
            constraints=Constraints(max_p99_ms=ANY_MS, max_graph_bytes=5000),
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    large, small = await trials(caller, job)
    assert large.metrics["auc"] > small.metrics["auc"]
    assert large.metrics[SIZE] > 5000 > small.metrics[SIZE] > 0
    assert 0 < small.metrics[P99] < ANY_MS
    assert job.best_trial == small.name
    assert len(await artifact(caller, job.model_version, "model.onnx")) <= 5000
    training = json.loads(await artifact(caller, job.model_version, "training.json"))
    assert [set(each["metrics"]) & {SIZE, P99} for each in training["trials"]] == [{SIZE}, {SIZE}]
    card = (await artifact(caller, job.model_version, "card.md")).decode()
    assert "graph.size_bytes of at most 5,000 bytes" in card


async def test_a_job_in_which_nothing_is_fast_enough_says_what_each_takes(
    caller: TrainerCaller,
) -> None:
    network = (Candidate("mlp", {"hidden_units": 16, "epochs": 1}),)
    parent = await caller.until_over(await caller.submit("network", candidates=network))
    impossible = Constraints(max_p99_ms=1e-6)
    first = await caller.submit("first", constraints=impossible)
    quantised = await caller.submit(
        "quantised",
        "int8_static",
        mode=Mode.QUANTIZATION,
        parent_version=parent.model_version,
        snapshot=await caller.registry.sealed_snapshot("february", csv_rows(seed=1)),
        constraints=impossible,
    )
    for name, algorithm in ((first, "decision_tree"), (quantised, "int8_static")):
        job = await caller.until_over(name)
        assert (state_name(job), job.error.error_class, len(job.attempts)) == (
            "FAILED",
            job_pb2.JobError.ERROR_CLASS_NOTHING_FITS,
            1,
        )
        assert f"{algorithm} has latency.p99_ms" in job.error.message
    assert len(await caller.versions()) == 1


async def test_constraints_that_allow_anything_are_refused(caller: TrainerCaller) -> None:
    with refused() as refusal:
        await caller.submit("first", constraints=Constraints())
    assert refusal.fields() == ["training_job.spec.constraints"]
