"""A search that never ends and a job whose workers all die, inside budgets, beside a service.

Both go on until their money is spent, again and again; meanwhile, and in between, callers ask an
endpoint on the same machine at a steady rate.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

from roundhouse.trainer.v1 import cost_service_pb2 as costs_pb
from roundhouse.trainer.v1 import job_pb2

from services.trainer.core.search_space import FloatRange, SearchParameter
from services.trainer.core.spec import Candidate
from services.trainer.core.tuning import Sampler, Tuning
from tests.support.calls import PROJECT, TIMEOUT_S
from tests.support.trainer_api import TrainerCaller, state_name
from tests.support.trainer_money import cent_prices, cents, usd
from tests.system.steady_load import steady_load
from tests.system.switches import serving_world
from tests.trainer.test_kill import killable

STORM_CENTS = 6
"""Budget of the job whose workers are killed; few, since the pauses between attempts double."""

_LONG = {"epochs": 1000.0, "hidden_units": 64.0}
_SPACE = (SearchParameter("learning_rate", FloatRange(1e-5, 1e-2, log=True)),)
_ENDLESS = Tuning(Sampler.RANDOM, None, max_trials=1000, parallel_trials=2)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a job was given, and what it took; in cents, at a cent for a second of a core.

    Attributes:
        job: Resource name.
        state: It ended in.
        attempts: It took.
        budget: It was given.
        cost: That the job itself says.
        ledger: Sum of its entries in the ledger.
        clock: Seconds that its attempts lasted, each rounded up.
    """

    job: str
    state: str
    attempts: int
    budget: int
    cost: float
    ledger: float
    clock: int


@dataclass
class Runaway:
    """What was seen.

    Attributes:
        quiet_ms: How long each call took while nothing was trained.
        busy_ms: How long each took while both jobs ran.
        failures: Of calls.
        bills: Of every job.
    """

    quiet_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)


async def run_away(
    folder: Path, *, rounds: int, seconds: int, rate_per_s: float, trainer_cpus: str = ""
) -> Runaway:
    """In each round, ask for so many seconds beside an idle trainer, then beside a busy one.

    The trainer and its workers keep to `trainer_cpus`, such as `1-3`, if they are given.
    """
    found = Runaway()
    (serving := folder / "serving").mkdir()
    (training := folder / "training").mkdir()
    prices = str(cent_prices(folder))
    async with (
        serving_world(serving) as (process, _, _, _),
        killable(training, trainer_cpus, price_file=prices) as (_, caller),
    ):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as callers:

            async def asked() -> list[float]:
                took_ms, failures = await asyncio.get_running_loop().run_in_executor(
                    callers, _ask, process.address, rate_per_s, seconds
                )
                found.failures += failures
                return took_ms

            await asked()  # warms up: the callers' process, the connection, the model
            for number in range(rounds):
                found.quiet_ms += await asked()
                async with _both_running(training, caller, number, seconds) as jobs:
                    found.busy_ms += await asked()
                found.bills += [await _bill(caller, *job) for job in jobs]
    return found


@asynccontextmanager
async def _both_running(
    folder: Path, caller: TrainerCaller, number: int, seconds: int
) -> AsyncIterator[Sequence[tuple[str, int]]]:
    """The jobs and their budgets, under way; at the end of the block their money is spent."""
    candidates = (Candidate("mlp", _LONG, _SPACE),)
    sweep = await _submit(caller, f"sweep-{number}", seconds, candidates, tuning=_ENDLESS)
    candidates = (Candidate("mlp", _LONG),)
    storm = await _submit(caller, f"storm-{number}", STORM_CENTS, candidates, max_attempts=20)
    await caller.until(sweep, _runs)
    killing = asyncio.create_task(_kill_again_and_again(folder / "trainer.log", storm))
    try:
        yield ((sweep, seconds), (storm, STORM_CENTS))
        for job in (sweep, storm):
            await caller.until(job, _is_over, within_s=300)
    finally:
        killing.cancel()


async def _submit(
    caller: TrainerCaller,
    name: str,
    budget: int,
    candidates: tuple[Candidate, ...],
    **changes: object,
) -> str:
    request = caller.request(name, candidates=candidates, threads=1, **changes)
    request.training_job.budget.CopyFrom(usd(budget))
    return (await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)).name


def _runs(job: job_pb2.TrainingJob) -> bool:
    return state_name(job) == "RUNNING"


def _is_over(job: job_pb2.TrainingJob) -> bool:
    return state_name(job) in ("BUDGET_EXCEEDED", "SUCCEEDED", "FAILED", "CANCELLED")


async def _kill_again_and_again(log: Path, job: str) -> None:
    """Each of the job's workers, a second after it started."""
    killed: set[int] = set()
    while True:
        await asyncio.sleep(1.0)
        for pid in _workers(log, job) - killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)


def _workers(log: Path, job: str) -> set[int]:
    """The processes that the trainer says it has started for the job."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {
        int(line["place"].removeprefix("process "))
        for line in lines
        if line["event"] == "worker.started" and line["job"] == job
    }


async def _bill(caller: TrainerCaller, name: str, budget: int) -> Bill:
    job = await caller.get(name)
    query = costs_pb.QueryCostsRequest(parent=PROJECT, training_job=name)
    ledger = (await caller.costs.QueryCosts(query, timeout=TIMEOUT_S)).total
    lasted = [each.end_time.ToDatetime() - each.start_time.ToDatetime() for each in job.attempts]
    return Bill(
        job=name,
        state=state_name(job),
        attempts=len(job.attempts),
        budget=budget,
        cost=cents(job.cost),
        ledger=cents(ledger),
        clock=sum(-(-each // _SECOND) for each in lasted),
    )


def _ask(address: str, rate_per_s: float, seconds: float) -> tuple[list[float], list[str]]:
    """Milliseconds of each call that was answered, and why others were not; in its own process."""
    return asyncio.run(_asked(address, rate_per_s, seconds))


async def _asked(address: str, rate_per_s: float, seconds: float) -> tuple[list[float], list[str]]:
    async with steady_load(address, "delays", rate_per_s) as load:
        await asyncio.sleep(seconds)
    answered = [each.took_s * 1e3 for each in load.answers if not each.failure]
    return answered, [each.failure for each in load.answers if each.failure]
