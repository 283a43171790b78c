"""Versions made from other versions: trainer and registry on real ports, real workers."""

from __future__ import annotations

import json

import grpc
import pytest
from roundhouse.registry.v1 import (
    evaluation_pb2,
    evaluation_service_pb2,
    lineage_service_pb2,
    model_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.adapters.learning.native import WEIGHTS_FILE, native_from
from services.trainer.core.parents import MaximumLoss, Mode
from services.trainer.core.search_space import IntRange, NumberChoice, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.splits import SplitMethod
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.calls import PROJECT, TIMEOUT_S, refused
from tests.support.trainer_api import TrainerCaller, csv_rows, state_name

pytestmark = pytest.mark.real
Errors = job_pb2.JobError
STUDENT = Candidate("mlp", {"hidden_units": 8, "epochs": 12, "batch_rows": 64})


async def artifact(caller: TrainerCaller, version: str, path: str) -> bytes:
    request = model_service_pb2.DownloadArtifactRequest(version=version, path=path)
    parts = caller.registry.models.DownloadArtifact(request, timeout=TIMEOUT_S)
    return b"".join([part.chunk async for part in parts])


async def newer(caller: TrainerCaller, month: str, seed: int) -> str:
    """A snapshot of rows that no version was tested on."""
    return await caller.registry.sealed_snapshot(month, csv_rows(seed=seed))


async def evaluations(
    caller: TrainerCaller, version: str, snapshot: str
) -> dict[str, evaluation_pb2.Evaluation]:
    """The version's evaluations on a snapshot, by purpose."""
    listed = await caller.registry.evaluations.ListEvaluations(
        evaluation_service_pb2.ListEvaluationsRequest(
            parent=version, filter=f'snapshot = "{snapshot}"'
        ),
        timeout=TIMEOUT_S,
    )
    names = evaluation_pb2.Evaluation.Purpose
    return {names.Name(each.purpose): each for each in listed.evaluations}


async def parents(caller: TrainerCaller, version: str) -> list[str]:
    """Versions that a version was derived from."""
    request = lineage_service_pb2.QueryLineageRequest(
        name=version, direction=lineage_service_pb2.QueryLineageRequest.DIRECTION_UPSTREAM
    )
    found = await caller.registry.lineage.QueryLineage(request, timeout=TIMEOUT_S)
    return [
        getattr(edge, "from")
        for edge in found.edges
        if (edge.to, edge.relation) == (version, "derived")
        and "/versions/" in getattr(edge, "from")
    ]


async def test_a_student_is_a_version_with_its_evidence_beside_the_teacher(
    caller: TrainerCaller,
) -> None:
    teacher = await caller.until_over(await caller.submit("teacher", "lightgbm"))
    february = await newer(caller, "february", 1)
    job = await caller.until_over(
        await caller.submit(
            "student",
            mode=Mode.DISTILLATION,
            parent_version=teacher.model_version,
            snapshot=february,
            candidates=(Candidate("logistic_regression", {}), STUDENT),
            maximum_loss=MaximumLoss(auc=0.1, log_loss=0.2),
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    assert await parents(caller, job.model_version) == [teacher.model_version]
    mine = await evaluations(caller, job.model_version, february)
    theirs = await evaluations(caller, teacher.model_version, february)
    assert (set(mine), set(theirs)) == (
        {"PURPOSE_SELECTION", "PURPOSE_TEST"},
        {"PURPOSE_BASELINE"},
    )
    tested, baseline = mine["PURPOSE_TEST"].metrics, theirs["PURPOSE_BASELINE"].metrics
    assert tested["parent.auc"] == baseline["auc"] > 0.6
    assert 0.7 < tested["fidelity.agreement"] <= 1
    assert 0 < tested["fidelity.mean_difference"] < tested["fidelity.largest_difference"]
    for who in ("", "parent."):
        assert 0 < tested[f"{who}latency.p50_ms"] <= tested[f"{who}latency.p95_ms"]
    graphs = {
        name: len(await artifact(caller, version, "model.onnx"))
        for name, version in (
            ("graph.size_bytes", job.model_version),
            ("parent.graph.size_bytes", teacher.model_version),
        )
    }
    assert {name: tested[name] for name in graphs} == graphs
    assert graphs["graph.size_bytes"] < graphs["parent.graph.size_bytes"]
    written = json.loads(await artifact(caller, job.model_version, "evaluation.json"))["parent"]
    assert written["version"] == teacher.model_version
    assert written["fidelity"]["agreement"] == tested["fidelity.agreement"]
    card = (await artifact(caller, job.model_version, "card.md")).decode()
    assert f"Made from `{teacher.model_version}`" in card


async def test_a_student_that_loses_too_much_is_not_registered(caller: TrainerCaller) -> None:
    teacher = await caller.until_over(await caller.submit("teacher", "lightgbm"))
    job = await caller.until_over(
        await caller.submit(
            "student",
            mode=Mode.DISTILLATION,
            parent_version=teacher.model_version,
            snapshot=await newer(caller, "february", 1),
            candidates=(Candidate("decision_tree", {"max_depth": 1}),),
            maximum_loss=MaximumLoss(),
        )
    )
    assert (state_name(job), job.error.error_class, len(job.attempts)) == (
        "FAILED",
        Errors.ERROR_CLASS_NOT_AS_GOOD,
        1,
    )
    assert "maximum_loss" in job.error.message
    assert [version.name for version in await caller.versions()] == [teacher.model_version]


async def test_a_parent_that_is_not_there_is_a_fault_of_its_field(caller: TrainerCaller) -> None:
    with refused() as refusal:
        await caller.submit(
            "student",
            "mlp",
            mode=Mode.DISTILLATION,
            parent_version=f"{PROJECT}/models/delays/versions/9",
        )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SPEC")
    assert refusal.fields() == ["training_job.spec.parent_version"]


async def test_a_network_is_quantised_into_a_version_of_its_own(caller: TrainerCaller) -> None:
    network = (Candidate("mlp", {"hidden_units": 128, "epochs": 4}),)
    parent = await caller.until_over(await caller.submit("network", candidates=network))
    february = await newer(caller, "february", 1)
    asked = {
        "mode": Mode.QUANTIZATION,
        "parent_version": parent.model_version,
        "snapshot": february,
        "maximum_loss": MaximumLoss(auc=0.02, log_loss=0.02),
    }
    ways = (
        Candidate("int8_dynamic", {}),
        Candidate("int8_static", {}, (SearchParameter("per_channel", IntRange(0, 1)),)),
    )
    # Side by side, in processes that are sent the parent.
    search = Tuning(Sampler.GRID, None, max_trials=2, parallel_trials=2)
    job = await caller.until_over(
        await caller.submit("small", candidates=ways, tuning=search, **asked)
    )
    assert state_name(job) == "SUCCEEDED", job.error
    listed = await caller.jobs.ListTrials(
        job_service_pb2.ListTrialsRequest(parent=job.name), timeout=TIMEOUT_S
    )
    assert [trial.state for trial in listed.trials] == [job_pb2.Trial.STATE_SUCCEEDED] * 3
    assert await parents(caller, job.model_version) == [parent.model_version]
    tested = (await evaluations(caller, job.model_version, february))["PURPOSE_TEST"].metrics
    assert tested["fidelity.agreement"] > 0.95
    assert tested["graph.size_bytes"] < 0.7 * tested["parent.graph.size_bytes"]
    assert tested["parent.latency.p95_ms"] > 0
    for path in ("signature.json", "model.onnx"):
        mine = await artifact(caller, job.model_version, path)
        theirs = await artifact(caller, parent.model_version, path)
        assert (mine == theirs) == (path == "signature.json")
    training = json.loads(await artifact(caller, job.model_version, "training.json"))
    assert training["winner"]["package"].startswith("onnxruntime ")
    # What has become integers has no matrix products left to quantise.
    again = await caller.until_over(
        await caller.submit(
            "smaller",
            "int8_dynamic",
            **{
                **asked,
                "parent_version": job.model_version,
                "snapshot": await newer(caller, "march", 2),
            },
        )
    )
    assert (state_name(again), again.error.error_class) == (
        "FAILED",
        Errors.ERROR_CLASS_UNUSABLE_PARENT,
    )
    assert "nothing to quantise" in again.error.message


async def test_a_network_is_trained_further_on_newer_rows(caller: TrainerCaller) -> None:
    network = (Candidate("mlp", {"hidden_units": 16, "epochs": 4}),)
    parent = await caller.until_over(await caller.submit("network", candidates=network))
    asked = {
        "mode": Mode.WARM_START,
        "parent_version": parent.model_version,
        "snapshot": await newer(caller, "february", 1),
        "maximum_loss": MaximumLoss(auc=0.02, log_loss=0.02),
    }
    other = await caller.until_over(await caller.submit("other", "lightgbm", **asked))
    assert (state_name(other), other.error.error_class) == (
        "FAILED",
        Errors.ERROR_CLASS_UNUSABLE_PARENT,
    )
    assert "candidates[0].algorithm" in other.error.message
    job = await caller.until_over(await caller.submit("further", candidates=network, **asked))
    assert state_name(job) == "SUCCEEDED", job.error
    assert await parents(caller, job.model_version) == [parent.model_version]
    before = native_from(await artifact(caller, parent.model_version, WEIGHTS_FILE))
    after = native_from(await artifact(caller, job.model_version, WEIGHTS_FILE))
    assert before.encoder == after.encoder
    assert set(before.tensors) == set(after.tensors)
    with refused() as refusal:
        await caller.submit("forest", "random_forest", **asked)
    assert refusal.fields() == ["training_job.spec.candidates[0].algorithm"]


async def test_rows_that_the_parent_was_trained_on_cannot_judge_what_takes_over_from_it(
    caller: TrainerCaller,
) -> None:
    network = (Candidate("mlp", {"hidden_units": 8, "epochs": 1}),)
    parent = await caller.until_over(await caller.submit("network", candidates=network))
    # Other rows than the parent was tested on, which the ledger would let pass.
    job = await caller.until_over(
        await caller.submit(
            "further",
            candidates=network,
            mode=Mode.WARM_START,
            parent_version=parent.model_version,
            split_method=SplitMethod.RANDOM,
        )
    )
    assert (state_name(job), job.error.error_class) == ("FAILED", Errors.ERROR_CLASS_DATA_FAULT)
    assert f"{parent.model_version} was trained on" in job.error.message
    assert [version.name for version in await caller.versions()] == [parent.model_version]


async def test_the_smallest_forest_that_loses_little_is_the_pruned_version(
    caller: TrainerCaller,
) -> None:
    forest = (Candidate("random_forest", {"trees": 40, "max_depth": 6}),)
    parent = await caller.until_over(await caller.submit("forest", candidates=forest))
    shares = SearchParameter("share", NumberChoice((0.1, 0.5, 0.9)))
    asked = {
        "mode": Mode.PRUNING,
        "parent_version": parent.model_version,
        "candidates": (Candidate("fewer_trees", {}, (shares,)),),
        "tuning": Tuning(Sampler.GRID, None, max_trials=3, parallel_trials=1),
    }
    february = await newer(caller, "february", 1)
    job = await caller.until_over(
        await caller.submit(
            "small", snapshot=february, maximum_loss=MaximumLoss(auc=0.4, log_loss=5.0), **asked
        )
    )
    assert state_name(job) == "SUCCEEDED", job.error
    listed = await caller.jobs.ListTrials(
        job_service_pb2.ListTrialsRequest(parent=job.name), timeout=TIMEOUT_S
    )
    sizes = {trial.name: trial.metrics["graph.size_bytes"] for trial in listed.trials}
    assert len(sizes) == 3
    assert job.best_trial == min(sizes, key=lambda name: sizes[name])
    tested = (await evaluations(caller, job.model_version, february))["PURPOSE_TEST"].metrics
    assert tested["graph.size_bytes"] < 0.3 * tested["parent.graph.size_bytes"]
    assert tested["fidelity.agreement"] > 0.8
    assert await parents(caller, job.model_version) == [parent.model_version]
    card = (await artifact(caller, job.model_version, "card.md")).decode()
    assert "by leaving out what counts least" in card
    # Nothing may be lost: the best trial is told, and is not good enough.
    strict = await caller.until_over(
        await caller.submit(
            "strict",
            snapshot=await newer(caller, "march", 2),
            maximum_loss=MaximumLoss(),
            **{
                **asked,
                "candidates": (Candidate("shallower_trees", {"max_depth": 1}),),
                "tuning": None,
            },
        )
    )
    assert (state_name(strict), strict.error.error_class) == (
        "FAILED",
        Errors.ERROR_CLASS_NOT_AS_GOOD,
    )
