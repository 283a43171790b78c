"""List and filter 30,000 jobs and 100, call by call in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any, Final

import grpc
from roundhouse.trainer.v1 import job_service_pb2 as pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as pb_grpc

from benchmarks.harness import Bar, Row
from benchmarks.trainer.quantiles import quantile
from services.common.store.database import Database
from services.trainer.adapters.store import rows as stored
from services.trainer.adapters.store.tables import ATTEMPT, JOB, JOB_LABEL, TRIAL
from services.trainer.core.jobs import Attempt, TrainingJob, Trial, trial_id
from services.trainer.core.states import AttemptState, JobState, TrialState
from tests.support.trainer_values import EPOCH, job

_WITHIN: Final = 1.5
_CALL_S: Final = 30.0
_PAGE: Final = 50
_FEW: Final = 5
"""Page of the filters, which so many jobs pass in the smallest store too."""
_ROWS_AT_ONCE: Final = 5000
_PROJECT: Final = "projects/default"
_PAUSED: Final = 3
"""Jobs that are not over, however many there are."""


def fill(database_url: str, jobs: int) -> None:
    """Put so many jobs into a migrated database whose trainer doesn't run.

    Args:
        database_url: Of the database.
        jobs: How many; the newest few are PAUSED, each tenth of the rest has FAILED, the others
            SUCCEEDED. Each tenth is of team 7, and each has a label of its own.
    """
    database = Database(database_url)
    try:
        for start in range(0, jobs, _ROWS_AT_ONCE):
            made = [_job(each, jobs) for each in range(start, min(start + _ROWS_AT_ONCE, jobs))]
            database.write_now(partial(_insert, made=made))
    finally:
        database.close()


def _insert(connection: Any, made: Sequence[TrainingJob]) -> None:
    connection.execute(JOB.insert(), [stored.job_values(each) for each in made])
    connection.execute(
        JOB_LABEL.insert(), [row for each in made for row in stored.job_label_values(each)]
    )
    connection.execute(
        ATTEMPT.insert(), [stored.attempt_values(each.uid, each.attempts[0]) for each in made]
    )
    connection.execute(TRIAL.insert(), [stored.trial_values(each.uid, _TRIAL) for each in made])


_TRIAL: Final = Trial(
    trial_id(0, "decision_tree"),
    0,
    "decision_tree",
    {"max_depth": 6.0},
    TrialState.SUCCEEDED,
    1.0,
    {"auc": 0.7, "log_loss": 0.6},
)


def _job(number: int, jobs: int) -> TrainingJob:
    moment = EPOCH + timedelta(minutes=number)
    attempt = Attempt(1, f"worker-{number}", 1, AttemptState.STOPPED, moment, moment)
    state = JobState.FAILED if number % 10 == 5 else JobState.SUCCEEDED
    return job(
        name=f"{_PROJECT}/trainingJobs/job-{number:06d}",
        uid=f"{number:032x}",
        create_time=moment,
        update_time=moment,
        ready_time=moment,
        labels={"team": f"team-{number % 10}", "run": f"run-{number}"},
        state=JobState.PAUSED if number >= jobs - _PAUSED else state,
        attempts=(attempt,),
    )


@dataclass(frozen=True, slots=True)
class Size:
    """Which store: the kind of its database and how many jobs it holds."""

    kind: str
    jobs: int


class Grown:
    """A running trainer whose store holds so many jobs.

    Args:
        address: `host:port`.
        size: What its store holds.
    """

    def __init__(self, address: str, size: Size) -> None:
        self.size = size
        self._jobs = pb_grpc.JobServiceStub(grpc.insecure_channel(address))
        middle = size.jobs // 2
        name = f"{_PROJECT}/trainingJobs/job-{middle:06d}"
        token = self._token_of_the_middle()
        self.calls: dict[str, Callable[[], int]] = {
            "list the newest": lambda: self._list(),
            "list by name": lambda: self._list(order_by="name"),
            "list a page in the middle": lambda: self._list(token=token),
            "filter by a state that few have": lambda: self._list("state = PAUSED"),
            "filter by a state that one in ten has": lambda: self._list("state = FAILED"),
            "filter by name": lambda: self._list(f'name = "{name}"'),
            "filter by a label that one in ten has": lambda: self._list("labels.team = team-7"),
            "filter by a label that one has": lambda: self._list(f"labels.run = run-{middle}"),
        }

    def _list(self, filter_: str = "", *, order_by: str = "", token: str = "") -> int:
        request = pb.ListTrainingJobsRequest(
            parent=_PROJECT,
            page_size=_FEW if filter_ else _PAGE,
            filter=filter_,
            order_by=order_by,
            page_token=token,
        )
        found = self._jobs.ListTrainingJobs(request, timeout=_CALL_S, wait_for_ready=True)
        if not found.training_jobs:
            raise RuntimeError(f"{filter_!r} finds nothing")
        return len(found.training_jobs)

    def _token_of_the_middle(self) -> str:
        token, passed = "", 0
        while passed < self.size.jobs // 2:
            request = pb.ListTrainingJobsRequest(
                parent=_PROJECT, page_size=min(1000, self.size.jobs // 2), page_token=token
            )
            page = self._jobs.ListTrainingJobs(request, timeout=_CALL_S, wait_for_ready=True)
            token = page.next_page_token
            passed += len(page.training_jobs)
        return token


def latencies(trainers: Sequence[Grown], *, rounds: int, calls: int) -> list[Row]:
    """The p99 of each call at each size, in milliseconds; the trainers are called in turn.

    Args:
        trainers: That are compared.
        rounds: How often each is measured.
        calls: Of each kind, per round.
    """
    found = []
    for kind in trainers[0].calls:
        rounds_ms: dict[Size, list[list[float]]] = {each.size: [] for each in trainers}
        for _ in range(rounds):
            for taken in rounds_ms.values():
                taken.append([])
            for _ in range(calls):
                for each in trainers:
                    started = time.perf_counter()
                    each.calls[kind]()
                    took_ms = (time.perf_counter() - started) * 1000
                    rounds_ms[each.size][-1].append(took_ms)
        for size, taken in rounds_ms.items():
            p99s = tuple(quantile(each, 0.99) for each in taken)
            p50 = median(quantile(each, 0.5) for each in taken)
            found.append(
                Row(_row_name(kind, size), "ms (p99)", median(p99s), p99s, {"p50_ms": p50})
            )
    return found


def bars(rows: Sequence[Row], kind: str, sizes: Sequence[int]) -> list[Bar]:
    """Each call takes as long among many jobs as among few.

    Args:
        rows: From `latencies`.
        kind: Of the databases that are compared.
        sizes: Few and many.
    """
    few, many = (Size(kind, jobs) for jobs in sizes)
    named = {row.name: row for row in rows}
    calls = [
        name.removesuffix(_row_name("", few)) for name in named if name.endswith(_row_name("", few))
    ]
    return [
        Bar.at_most(
            f"{call}, {kind}, {quantile_name} at {many.jobs:,} / at {few.jobs:,} jobs",
            value(named[_row_name(call, many)]) / value(named[_row_name(call, few)]),
            _WITHIN,
            "ratio",
        )
        for call in calls
        for quantile_name, value in _QUANTILES.items()
    ]


_QUANTILES: Final[dict[str, Callable[[Row], float]]] = {
    "p50": lambda row: row.facts["p50_ms"],
    "p99": lambda row: row.value,
}


def _row_name(call: str, size: Size) -> str:
    return f"{call}, {size.jobs:,} jobs, {size.kind}"
