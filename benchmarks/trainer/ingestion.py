"""Metric points through `ReportMetrics`, beside bare INSERTs into the same table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, Final

import grpc
import psutil
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import worker_service_pb2 as pb
from sqlalchemy import Connection

from benchmarks.harness import Bar, Row, Sample, interleaved
from services.common.store.database import Database
from services.trainer.adapters.store.transaction import SqlTrainerTx
from services.trainer.core.use_cases.attempts import Claim, claim
from services.trainer.core.use_cases.spending import Terms
from tests.support.trainer_values import TERMS, job

WORKERS: Final = 4
BATCH_POINTS: Final = 2000
SERIES: Final = ("train_loss", "validation_auc", "validation_log_loss", "learning_rate")
CLAIM_S: Final = 600
"""A claim outlives this part of the benchmark: its workers send no heartbeats."""

_GOAL_PER_S: Final = 50_000.0
_STREAM_S: Final = 120.0
_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_REPORT: Final = "/roundhouse.trainer.v1.WorkerService/ReportMetrics"
_INSERT: Final = "INSERT INTO metric_point (job_uid, trial, series, step, value, time) VALUES "
_MARKS: Final = {"sqlite": "(?, ?, ?, ?, ?, ?)", "postgresql": "(%s, %s, %s, %s, %s, %s)"}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A trainer and the claims that workers may report under.

    Attributes:
        kind: Of its database.
        address: `host:port`.
        pid: Of its process, whose CPU time is counted.
        database_url: Of its database.
        claims: One for each worker.
    """

    kind: str
    address: str
    pid: int
    database_url: str
    claims: Sequence[Claim]


def claimed_jobs(database_url: str) -> list[Claim]:
    """Put a running job for each worker into a migrated database whose trainer doesn't run."""
    terms = Terms(timedelta(seconds=CLAIM_S), TERMS.prices, TERMS.machine)
    database = Database(database_url)

    def work(connection: Any) -> list[Claim]:
        tx = SqlTrainerTx(connection, datetime.now(UTC))
        claims = []
        for number in range(WORKERS):
            name = f"projects/default/trainingJobs/reporting-{number}"
            tx.add_job(job(name=name, uid=tx.new_uid(), ready_time=tx.now), ())
            assignment = claim(tx, name, f"reporter-{number}", terms)
            assert assignment is not None
            claims.append(assignment.claim)
        return claims

    try:
        return database.write_now(work)
    finally:
        database.close()


class Ingestion:
    """Reports points to one trainer, and inserts as many past it.

    Args:
        trainer: That is measured.
        batches: Of `BATCH_POINTS` points, by each worker and round.
    """

    def __init__(self, trainer: Claimed, batches: int) -> None:
        self._trainer = trainer
        self._batches = batches
        self._sequences = {each.job: count(1) for each in trainer.claims}
        self._steps = count(step=BATCH_POINTS // len(SERIES))

    def report(self, workers: int) -> Sample:
        """Points per second of so many workers at once, each acknowledged before the next."""
        claims = self._trainer.claims[:workers]
        requests = [[self._request(each) for _ in range(self._batches)] for each in claims]
        with grpc.insecure_channel(self._trainer.address) as channel:
            # Serialized before: a worker's own time is not the trainer's.
            call = channel.stream_stream(
                _REPORT,
                request_serializer=lambda data: data,
                response_deserializer=pb.ReportMetricsResponse.FromString,
            )

            def send(mine: list[bytes]) -> int:
                return len(list(call(iter(mine), timeout=_STREAM_S, wait_for_ready=True)))

            process = psutil.Process(self._trainer.pid)
            with ThreadPoolExecutor(workers) as threads:
                cpu_before_s = sum(process.cpu_times()[:2])
                started = time.perf_counter()
                acknowledged = sum(threads.map(send, requests))
                took_s = time.perf_counter() - started
                cpu_s = sum(process.cpu_times()[:2]) - cpu_before_s
        if acknowledged != workers * self._batches:
            raise RuntimeError(f"{acknowledged} reports were acknowledged")
        reported = acknowledged * BATCH_POINTS
        return Sample(reported / took_s, {"trainer_cpu_us_per_point": cpu_s / reported * 1e6})

    def insert(self) -> Sample:
        """Points per second by the driver alone, a transaction for each batch."""
        batches = [self._values() for _ in range(self._batches)]
        cpu_before_s = time.process_time()
        statement = _INSERT + _MARKS[self._trainer.kind]
        database = Database(self._trainer.database_url)
        try:
            started = time.perf_counter()
            for values in batches:
                database.write_now(partial(_insert, statement, values))
            took_s = time.perf_counter() - started
        finally:
            database.close()
        inserted = len(batches) * BATCH_POINTS
        cpu_us = (time.process_time() - cpu_before_s) / inserted * 1e6
        return Sample(inserted / took_s, {"cpu_us_per_point": cpu_us})

    def _request(self, speaker: Claim) -> bytes:
        return pb.ReportMetricsRequest(
            claim=pb.Claim(job=speaker.job, fence=speaker.fence),
            sequence=next(self._sequences[speaker.job]),
            points=points(next(self._steps)),
        ).SerializeToString()

    def _values(self) -> list[tuple[object, ...]]:
        is_text = self._trainer.kind == "sqlite"
        moment = _TIME.strftime("%Y-%m-%d %H:%M:%S.%f") if is_text else _TIME
        return [
            ("bare", point.trial, point.series, point.step, point.value, moment)
            for point in points(next(self._steps))
        ]


def _insert(statement: str, values: list[tuple[object, ...]], connection: Connection) -> None:
    connection.exec_driver_sql(statement, values)


def points(first_step: int) -> list[job_pb2.MetricPoint]:
    """A batch: every series at each of the steps from `first_step` on."""
    found = []
    for step in range(first_step, first_step + BATCH_POINTS // len(SERIES)):
        for series in SERIES:
            point = job_pb2.MetricPoint(trial="mlp-1", series=series, step=step, value=step / 7)
            point.time.FromDatetime(_TIME)
            found.append(point)
    return found


def points_per_second(trainers: Sequence[Claimed], *, batches: int, rounds: int) -> list[Row]:
    """A row per database, for one worker, for several and for bare INSERTs.

    Args:
        trainers: Of each kind of database one.
        batches: Of `BATCH_POINTS` points, by each worker and round.
        rounds: How often each is measured.
    """
    contenders: list[tuple[str, str, Callable[[], Sample]]] = []
    for each in trainers:
        ingestion = Ingestion(each, batches)
        ingestion.report(1)
        contenders += [
            (_reported(each.kind, 1), "points/s", partial(ingestion.report, 1)),
            (_reported(each.kind, WORKERS), "points/s", partial(ingestion.report, WORKERS)),
            (_inserted(each.kind), "points/s", ingestion.insert),
        ]
    return interleaved(contenders, rounds)


def bars(rows: Sequence[Row], kinds: Sequence[str]) -> list[Bar]:
    """What one worker may report."""
    value = {row.name: row.value for row in rows}
    return [
        Bar.at_least(_reported(kind, 1), value[_reported(kind, 1)], _GOAL_PER_S, "points/s")
        for kind in kinds
    ]


def _reported(kind: str, workers: int) -> str:
    return f"points reported by {workers} worker{'s' * (workers > 1)}, {kind}"


def _inserted(kind: str) -> str:
    return f"points by bare INSERT, {kind}"
