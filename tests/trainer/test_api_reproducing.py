"""Jobs that repeat others: trainer and registry on real ports, real workers."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.type.money_pb2 import Money
from roundhouse.registry.v1 import (
    evaluation_service_pb2,
    retention_pb2,
    retention_service_pb2,
)
from roundhouse.trainer.v1 import job_pb2, job_service_pb2
from roundhouse.trainer.v1.reproduction_pb2 import Reproduction

from services.trainer.core.calibration import CalibrationMethod
from services.trainer.core.constraints import Constraints
from services.trainer.core.parents import Mode
from services.trainer.core.pruning import HyperbandPruning
from services.trainer.core.reproduction import USUAL_TOLERANCE, Subject
from services.trainer.core.search_space import FloatRange, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, csv_rows, running_trainer, state_name
from tests.support.trainer_process import workers_of
from tests.trainer.test_api_tuning import trials_of
from tests.trainer.test_kill import killable

pytestmark = pytest.mark.real
RESTLESS = Path(__file__).parents[1] / "support" / "restless_recipe"
TREES = Candidate("lightgbm", {"rounds": 12})
LONG = Candidate("mlp", {"epochs": 30, "hidden_units": 8})
SPACE = (SearchParameter("learning_rate", FloatRange(1e-5, 1e-1, log=True)),)
SEARCHED = Candidate("mlp", {"epochs": 6, "hidden_units": 8}, SPACE)


def request_for(
    original: str, job_id: str = "again", **fields: Any
) -> job_service_pb2.ReproduceTrainingJobRequest:
    return job_service_pb2.ReproduceTrainingJobRequest(
        name=original, training_job_id=job_id, request_id=request_id(), **fields
    )


async def repeat(caller: TrainerCaller, original: str, **fields: Any) -> str:
    request = request_for(original, **fields)
    return (await caller.jobs.ReproduceTrainingJob(request, timeout=TIMEOUT_S)).name


async def repeated(caller: TrainerCaller, original: str, **fields: Any) -> job_pb2.TrainingJob:
    """The job that repeats `original`, once it has."""
    job = await caller.until_over(await repeat(caller, original, **fields))
    assert state_name(job) == "SUCCEEDED", job.error
    return job


async def trained(
    caller: TrainerCaller, job_id: str = "first", **changes: Any
) -> job_pb2.TrainingJob:
    job = await caller.until_over(await caller.submit(job_id, **changes))
    assert state_name(job) == "SUCCEEDED", job.error
    return job


async def looks(caller: TrainerCaller) -> list[tuple[str, int]]:
    """Which versions rows have judged, and for what."""
    listed = await caller.registry.evaluations.ListTestSetTouches(
        evaluation_service_pb2.ListTestSetTouchesRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    return sorted((touch.version, touch.purpose) for touch in listed.touches)


async def unpin_everything(caller: TrainerCaller) -> None:
    """At once: of a job that was over before it was looked at, pins go after two minutes."""
    retention = caller.registry.retention
    listing = retention_service_pb2.ListPinsRequest(parent=PROJECT)
    async with asyncio.timeout(60):
        while pins := (await retention.ListPins(listing, timeout=TIMEOUT_S)).pins:
            for pin in pins:
                ending = retention_service_pb2.DeletePinRequest(
                    name=pin.name, request_id=str(uuid.uuid4())
                )
                with suppress(grpc.aio.AioRpcError):  # the trainer may have been faster
                    await retention.DeletePin(ending, timeout=TIMEOUT_S)


def outcomes(job: job_pb2.TrainingJob) -> dict[str, str]:
    return {
        Reproduction.Subject.Name(each.subject): Reproduction.Outcome.Name(each.outcome)
        for each in job.reproduction.comparisons
    }


EQUAL = dict.fromkeys(Subject, "OUTCOME_EQUAL")


async def test_a_search_that_is_repeated_is_bit_equal_and_leaves_nothing_in_the_registry(
    caller: TrainerCaller,
) -> None:
    original = await trained(
        caller,
        candidates=(TREES, SEARCHED),
        tuning=Tuning(
            Sampler.RANDOM, HyperbandPruning(2, 2, 1), 30, parallel_trials=2, patience_trials=4
        ),
        calibration=CalibrationMethod.SIGMOID,
        constraints=Constraints(max_p99_ms=1000.0),
    )
    made = await trials_of(caller, original.name)
    assert len(made) < 31, "patience ended the search"
    assert job_pb2.Trial.STATE_PRUNED in {trial.state for trial in made}
    before = await looks(caller)
    job = await repeated(caller, original.name)
    again = await trials_of(caller, job.name)
    assert [(each.parameters, each.state) for each in again] == [
        (each.parameters, each.state) for each in made
    ]
    assert outcomes(job) == EQUAL
    assert job.reproduction.verdict == Reproduction.VERDICT_BIT_EQUAL
    assert not job.reproduction.HasField("parted")
    assert (job.reproduces, job.reproduction.tolerance) == (original.name, USUAL_TOLERANCE)
    assert (job.model_version, job.evaluation, job.progress) == ("", "", 1.0)
    assert job.best_trial.rpartition("/")[2] == original.best_trial.rpartition("/")[2]
    assert await caller.points(job.name) == await caller.points(original.name)
    assert len(await caller.versions()) == 1
    assert await looks(caller) == before
    assert job.estimated_cost.currency_code == "USD"


async def test_one_request_id_gives_one_job_that_pays_as_it_is_told(caller: TrainerCaller) -> None:
    original = await trained(caller)
    budget = Money(currency_code="USD", units=3)
    request = request_for(original.name, owner="ann", budget=budget, tolerance=0.25)
    rehearsed = job_service_pb2.ReproduceTrainingJobRequest()
    rehearsed.CopyFrom(request)
    rehearsed.validate_only = True
    await caller.jobs.ReproduceTrainingJob(rehearsed, timeout=TIMEOUT_S)
    job = await caller.jobs.ReproduceTrainingJob(request, timeout=TIMEOUT_S)
    assert await caller.jobs.ReproduceTrainingJob(request, timeout=TIMEOUT_S) == job
    assert (job.owner, job.budget, job.reproduction.tolerance) == ("ann", budget, 0.25)
    assert job.reproduction.verdict == Reproduction.VERDICT_UNSPECIFIED
    listed = await caller.jobs.ListTrainingJobs(
        job_service_pb2.ListTrainingJobsRequest(
            parent=PROJECT, filter=f'reproduces = "{original.name}"'
        ),
        timeout=TIMEOUT_S,
    )
    assert [each.name for each in listed.training_jobs] == [job.name]
    with refused() as refusal:
        await repeat(caller, job.name, job_id="third")
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "JOB_IS_REPRODUCTION",
    )


async def test_a_run_through_kills_of_worker_and_trainer_compares_as_if_nothing_happened(
    tmp_path: Path,
) -> None:
    async with killable(tmp_path) as (trainer, caller):
        original = await trained(caller, candidates=(LONG,), max_attempts=9)
        whole = await repeated(caller, original.name, job_id="whole")
        name = await repeat(caller, original.name, job_id="killed")
        with refused() as refusal:
            await caller.jobs.DeleteTrainingJob(
                job_service_pb2.DeleteTrainingJobRequest(
                    name=original.name, request_id=request_id()
                ),
                timeout=TIMEOUT_S,
            )
        assert (refusal.reason, refusal.metadata["reproduction"]) == ("JOB_IN_USE", name)
        await caller.until_points(name, 4)
        for worker in workers_of(trainer.pid):
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        await caller.until_points(name, 12)
        for orphan in trainer.kill():
            with suppress(psutil.NoSuchProcess):
                orphan.kill()
        trainer.restart()
        job = await caller.until_over(name)
    assert state_name(job) == "SUCCEEDED", job.error
    assert len(job.attempts) == 3
    assert job.reproduction == whole.reproduction
    assert outcomes(job) == EQUAL


@pytest.fixture
def restless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a recipe is installed that can be shaken."""
    folder = tmp_path / "site-packages"
    shutil.copytree(RESTLESS, folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


async def test_a_recipe_that_gives_other_bits_is_caught_where_it_first_does(
    tmp_path: Path, restless: Path
) -> None:
    async with running_trainer(tmp_path) as caller:
        candidates = (Candidate("decision_tree", {}), Candidate("restless", {}))
        original = await trained(caller, candidates=candidates)
        assert original.best_trial.endswith("restless-2")
        steady = await repeated(caller, original.name, job_id="steady")
        assert steady.reproduction.verdict == Reproduction.VERDICT_BIT_EQUAL

        (restless / "shake").write_text("1e-9")
        nearly = (await repeated(caller, original.name, job_id="nearly")).reproduction
        assert nearly.verdict == Reproduction.VERDICT_WITHIN_TOLERANCE
        (restless / "shake").write_text("0.5")
        other = await repeated(caller, original.name, job_id="other")
    assert other.reproduction.verdict == Reproduction.VERDICT_DIFFERENT
    for parted in (nearly.parted, other.reproduction.parted):
        assert (parted.subject, parted.trial, parted.item, parted.step) == (
            Reproduction.SUBJECT_POINTS,
            "restless-2",
            "train_loss",
            3,
        )
        assert float(parted.original) == 1 / 3
    assert float(other.reproduction.parted.repeated) == 1 / 3 + 0.5
    same = {"SPEC", "SNAPSHOT", "SPLIT", "ENVIRONMENT", "PARAMETERS"}
    assert {subject for subject, found in outcomes(other).items() if "EQUAL" in found} >= {
        f"SUBJECT_{name}" for name in same
    }
    assert outcomes(other)["SUBJECT_GRAPH"] == "OUTCOME_DIFFERENT"


async def test_what_was_collected_since_is_not_kept_or_makes_a_repetition_impossible(
    caller: TrainerCaller,
) -> None:
    newest_only = retention_pb2.RetentionPolicy(keep_last=1)
    model = await caller.registry.create_model("brief", retention_policy=newest_only)
    february = await caller.registry.sealed_snapshot("february", csv_rows(seed=1))
    teacher = await trained(caller, "teacher", model=model)
    student = await trained(
        caller,
        "student",
        model=model,
        mode=Mode.DISTILLATION,
        parent_version=teacher.model_version,
        snapshot=february,
        candidates=(Candidate("logistic_regression", {}),),
    )
    await trained(caller, "newest", model=model)
    await unpin_everything(caller)
    await caller.registry.collect(await caller.registry.plan_collection())
    with refused() as refusal:
        await repeat(caller, student.name)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "SOURCE_GONE",
    )
    assert refusal.metadata == {"name": student.name, "source": teacher.model_version}
    job = await repeated(caller, teacher.name)
    assert job.reproduction.verdict == Reproduction.VERDICT_UNKNOWN
    assert not job.reproduction.HasField("parted")
    gone = {"SUBJECT_SNAPSHOT", "SUBJECT_SPLIT", "SUBJECT_ENVIRONMENT"}
    assert outcomes(job) == {**EQUAL, **dict.fromkeys(gone, "OUTCOME_NOT_KEPT")}


async def test_what_cannot_be_repeated_is_refused_with_the_reason(caller: TrainerCaller) -> None:
    unfinished = await caller.submit("unfinished", candidates=(LONG,))
    with refused() as refusal:
        await repeat(caller, unfinished)
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "JOB_UNFINISHED",
    )
    with refused() as refusal:
        await repeat(caller, f"{PROJECT}/trainingJobs/nobody")
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    with refused() as refusal:
        await repeat(caller, unfinished, queue="projects/other/queues/bulk")
    assert refusal.fields() == ["queue"]
    original = await caller.until_over(unfinished)
    await caller.registry.retention.PlaceHold(
        retention_service_pb2.PlaceHoldRequest(
            parent=PROJECT,
            hold=retention_pb2.Hold(
                target=original.spec.snapshot,
                kind=retention_pb2.Hold.KIND_PRIVACY,
                placed_by="ann",
                reason="request 7",
            ),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    with refused() as refusal:
        await repeat(caller, original.name)
    assert refusal.reason == "SNAPSHOT_HELD"
