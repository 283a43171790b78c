"""Costs and budgets on real worker processes, beside a real registry."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from google.type.money_pb2 import Money
from roundhouse.trainer.v1 import cost_service_pb2 as pb
from roundhouse.trainer.v1 import job_pb2, job_service_pb2

from services.trainer.core.spec import Candidate
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, running_trainer, state_name
from tests.support.trainer_money import cent_prices, cents, usd
from tests.trainer.test_kill import kill_workers

pytestmark = pytest.mark.real
LONG = (Candidate("mlp", {"epochs": 1000, "hidden_units": 8}),)
MODEL = f"{PROJECT}/models/delays"


@pytest.fixture
def price_file(tmp_path: Path) -> Path:
    """A cent for a second of a core."""
    return cent_prices(tmp_path)


async def submit(
    caller: TrainerCaller, name: str, budget: Money | None = None, **changes: object
) -> str:
    request = caller.request(name, **{"candidates": LONG, "threads": 1, **changes})
    request.training_job.owner = "ann"
    if budget is not None:
        request.training_job.budget.CopyFrom(budget)
    return (await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)).name


async def costs(caller: TrainerCaller, **query: object) -> pb.QueryCostsResponse:
    request = pb.QueryCostsRequest(parent=PROJECT, **query)  # type: ignore[arg-type]
    return await caller.costs.QueryCosts(request, timeout=TIMEOUT_S)


async def until_stopped(caller: TrainerCaller, name: str) -> job_pb2.TrainingJob:
    return await caller.until(
        name, lambda job: state_name(job) in ("BUDGET_EXCEEDED", "SUCCEEDED", "FAILED")
    )


async def resume(caller: TrainerCaller, name: str) -> job_pb2.TrainingJob:
    return await caller.jobs.ResumeTrainingJob(
        job_service_pb2.ResumeTrainingJobRequest(name=name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )


async def test_a_job_stops_at_its_budget_and_goes_on_from_there_after_a_raise(
    tmp_path: Path, price_file: Path
) -> None:
    async with running_trainer(tmp_path, price_file=price_file) as caller:
        name = await submit(caller, "dear", usd(8))
        job = await until_stopped(caller, name)
        assert state_name(job) == "BUDGET_EXCEEDED", job.error
        assert job.error.error_class == job_pb2.JobError.ERROR_CLASS_BUDGET_EXCEEDED
        assert cents(job.cost) <= 8
        done = len(await caller.points(name, "train_loss"))
        with refused() as refusal:
            await caller.costs.SetJobBudget(
                pb.SetJobBudgetRequest(
                    name=name,
                    budget=Money(currency_code="EUR", units=1),
                    request_id=request_id(),
                ),
                timeout=TIMEOUT_S,
            )
        assert refusal.fields() == ["budget.currency_code"]
        await caller.costs.SetJobBudget(
            pb.SetJobBudgetRequest(name=name, budget=job.cost, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
        with refused() as refusal:
            await resume(caller, name)
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "BUDGET_EXCEEDED",
        )
        await caller.costs.SetJobBudget(
            pb.SetJobBudgetRequest(name=name, budget=usd(1000), request_id=request_id()),
            timeout=TIMEOUT_S,
        )
        await resume(caller, name)
        await caller.until_points(name, done + 2)
        assert any("goes on after step" in line for line in await caller.log(name))


async def test_workers_killed_again_and_again_spend_no_more_than_the_budget(
    tmp_path: Path, price_file: Path
) -> None:
    async with running_trainer(tmp_path, price_file=price_file) as caller:
        name = await submit(caller, "storm", usd(3), max_attempts=20)
        job = await caller.get(name)
        while state_name(job) != "BUDGET_EXCEEDED":
            job = await caller.until(name, lambda job: state_name(job) != "QUEUED")
            kill_workers()
        assert state_name(job) == "BUDGET_EXCEEDED", job.error
        by_attempt = await costs(
            caller, group_by=pb.QueryCostsRequest.GROUP_BY_ATTEMPT, training_job=name
        )
        assert cents(by_attempt.total) == cents(job.cost) <= 3
        assert {line.group: cents(line.cost) for line in by_attempt.lines} == {
            f"{name}/attempts/{each.number}": each.charged.seconds
            for each in job.attempts
            if each.charged.seconds
        }


async def test_costs_are_summed_by_model_owner_and_month_also_of_deleted_jobs(
    tmp_path: Path, price_file: Path
) -> None:
    async with running_trainer(tmp_path, price_file=price_file) as caller:
        name = await submit(caller, "first", candidates=(Candidate("decision_tree", {}),))
        job = await caller.until_over(name)
        await caller.jobs.DeleteTrainingJob(
            job_service_pb2.DeleteTrainingJobRequest(name=name, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
        spent = cents(job.cost)
        assert spent >= 1
        month = job.attempts[0].start_time.ToDatetime().strftime("%Y-%m")
        for group, key in (("MODEL", MODEL), ("OWNER", "ann"), ("MONTH", month), ("JOB", name)):
            grouping = pb.QueryCostsRequest.GroupBy.Value(f"GROUP_BY_{group}")
            answer = await costs(caller, group_by=grouping, owner="ann", model=MODEL)
            assert [(line.group, cents(line.cost)) for line in answer.lines] == [(key, spent)]
        assert cents((await costs(caller, owner="bob")).total) == 0
        began = job.attempts[0].start_time
        for span, amount in (
            ({"start_time": began, "end_time": job.update_time}, spent),
            ({"end_time": began}, 0),
            ({"start_time": job.update_time}, 0),
        ):
            assert cents((await costs(caller, **span)).total) == amount
        await caller.costs.SetOwnerBudget(
            pb.SetOwnerBudgetRequest(
                parent=PROJECT, owner="ann", monthly=usd(1), request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
        (budget,) = (
            await caller.costs.ListOwnerBudgets(
                pb.ListOwnerBudgetsRequest(parent=PROJECT), timeout=TIMEOUT_S
            )
        ).owner_budgets
        assert (budget.owner, cents(budget.spent)) == ("ann", spent)
        blocked = await until_stopped(caller, await submit(caller, "second"))
        assert state_name(blocked) == "BUDGET_EXCEEDED"
        assert "owner ann" in blocked.error.message
