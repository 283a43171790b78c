"""A worker's line to the trainer: its claim, its heartbeat and its reports."""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NoReturn, TypeVar

import grpc
import structlog
from roundhouse.trainer.v1 import (
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

from services.common.rpc.convert import from_duration, to_struct
from services.common.rpc.remote import RemoteError, remote_errors
from services.trainer.adapters.worker.contract import (
    Work,
    comparison_to_proto,
    error_to_proto,
    micros_of,
    work_of,
)
from services.trainer.core.failures import TrainingFailure
from services.trainer.core.jobs import MetricPoint, StoredCheckpoint, Trial
from services.trainer.core.reproduction import Comparison
from services.trainer.core.search import Proposal
from services.trainer.core.states import JobState
from services.trainer.core.use_cases.attempts import Order
from services.trainer.wire import (
    checkpoint_from_proto,
    checkpoint_to_proto,
    point_from_proto,
    point_to_proto,
    trial_from_proto,
    trial_name,
    trial_to_proto,
)

log = structlog.get_logger()
T = TypeVar("T")

PEER: Final = "trainer"
FLUSH_INTERVAL_S: Final = 0.3
_REPORTED_AT_ONCE: Final = 10_000
"""Points, and lines, of one report: what the contract allows."""
RETRY_PAUSE_S: Final = 0.2
PAGE: Final = 1000
SUPERSEDED_EXIT_STATUS: Final = 75
_ORDERS: Final = {
    worker_service_pb2.HeartbeatResponse.ORDER_GO_ON: Order.GO_ON,
    worker_service_pb2.HeartbeatResponse.ORDER_PAUSE: Order.PAUSE,
    worker_service_pb2.HeartbeatResponse.ORDER_CANCEL: Order.CANCEL,
}


class TrainerLink:
    """Speaks for one attempt. A claim that is lost ends the process at once.

    Methods that don't wait may be called from any thread; the others from the event loop.

    Args:
        channel: From `connect`.
        work: What was claimed.

    Attributes:
        order: What the worker is to do.
        cost_micros: What the job has cost, as the trainer last said.
    """

    def __init__(self, channel: grpc.aio.Channel, work: Work) -> None:
        self.order = Order.GO_ON
        self.cost_micros = work.cost_micros
        self._jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self._stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self._work = work
        self._lock = threading.Lock()
        self._flushing = asyncio.Lock()
        self._points: list[MetricPoint] = []
        self._log_lines: list[str] = []
        self._trials: dict[str, Trial] = {}
        self._sequence = 0
        self._preempted = False

    @staticmethod
    async def claim(channel: grpc.aio.Channel, job: str, worker: str) -> Work:
        """The job for a new attempt of `worker`.

        Raises:
            RemoteError: There is nothing to claim, or the trainer is away.
        """
        stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        with remote_errors(PEER):
            request = worker_service_pb2.ClaimJobRequest(
                worker=worker, job=job, node=platform.node()
            )
            return work_of(await stub.ClaimJob(request))

    def measured(self, points: Sequence[MetricPoint]) -> None:
        """Send `points` soon."""
        with self._lock:
            self._points += points

    def preempt(self) -> None:
        """Have the worker stop at its next trial or checkpoint: its machine is taken away."""
        self._preempted = True
        if self.order is Order.GO_ON:
            self.order = Order.PAUSE

    def logged(self, line: str) -> None:
        """Send a line for the job's log soon."""
        with self._lock:
            self._log_lines.append(line)

    def trial_moved(self, trial: Trial) -> None:
        """Send how a running trial stands soon; only the newest of each is sent."""
        with self._lock:
            self._trials[trial.id] = trial

    async def trial_kept(self, trial: Trial) -> None:
        """Have what a trial has reached stored before going on, and with it what it has measured.

        Nobody measures again what a trial is known to have reached.
        """
        # Nobody else sends it meanwhile: it is here that a failure to store it must be heard of.
        async with self._flushing:
            with self._lock:
                self._trials[trial.id] = trial
            await self._flush()

    async def entered(self, stage: JobState) -> None:
        """Have the job moved to the stage of the work at hand."""
        request = worker_service_pb2.ReportStageRequest(
            claim=self._work.claim, stage=job_pb2.TrainingJob.State.Value(f"STATE_{stage.value}")
        )
        await self._call(lambda: self._stub.ReportStage(request))

    async def added(self, position: int, proposal: Proposal) -> Trial:
        """The next trial of the job's tuning, stored."""
        request = worker_service_pb2.AddTrialRequest(
            claim=self._work.claim,
            position=position,
            candidate=proposal.candidate,
            parameters=to_struct(proposal.parameters),
        )
        response = await self._call(lambda: self._stub.AddTrial(request))
        return trial_from_proto(response.trial, position)

    async def curves(self, series: str) -> dict[str, dict[int, float]]:
        """What earlier attempts measured of a series: the value by trial and step."""
        found: dict[str, dict[int, float]] = {}
        for point in await self.points(self._work.job, series):
            found.setdefault(point.trial, {})[point.step] = point.value
        return found

    async def job(self, name: str) -> job_pb2.TrainingJob:
        """A job as it is stored."""
        request = job_service_pb2.GetTrainingJobRequest(name=name)
        return await self._call(lambda: self._jobs.GetTrainingJob(request))

    async def trials(self, job: str) -> list[Trial]:
        """A job's trials as they are stored, in their order."""
        found: list[Trial] = []
        request = job_service_pb2.ListTrialsRequest(parent=job, page_size=PAGE)
        while True:
            page = await self._call(lambda: self._jobs.ListTrials(request))
            found += [
                trial_from_proto(each, index) for index, each in enumerate(page.trials, len(found))
            ]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def points(self, job: str, series: str = "") -> list[MetricPoint]:
        """What is stored of a series of a job; an empty one means all."""
        found: list[MetricPoint] = []
        request = job_service_pb2.ReadMetricsRequest(parent=job, series=series, page_size=PAGE)
        while True:
            page = await self._call(lambda: self._jobs.ReadMetrics(request))
            found += [point_from_proto(point) for point in page.points]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def checkpointed(self, stored: StoredCheckpoint) -> list[StoredCheckpoint]:
        """Have a checkpoint in the blob store known to later attempts; gives those to remove."""
        request = worker_service_pb2.CommitCheckpointRequest(
            claim=self._work.claim, checkpoint=checkpoint_to_proto(stored)
        )
        response = await self._call(lambda: self._stub.CommitCheckpoint(request))
        return [checkpoint_from_proto(each) for each in response.superseded]

    async def rejected(self, stored: StoredCheckpoint, cause: str) -> None:
        """Have a checkpoint that can't be restored forgotten."""
        request = worker_service_pb2.RejectCheckpointRequest(
            claim=self._work.claim, checkpoint=checkpoint_to_proto(stored), cause=cause
        )
        await self._call(lambda: self._stub.RejectCheckpoint(request))

    async def succeeded(self, version: str, evaluation: str, best_trial: str) -> None:
        """End the attempt well."""
        success = worker_service_pb2.FinishAttemptRequest.Success(
            model_version=version,
            evaluation=evaluation,
            best_trial=trial_name(self._work.job, best_trial),
        )
        await self._finish(success=success)

    async def reproduced(self, best_trial: str, comparisons: Sequence[Comparison]) -> None:
        """End an attempt at a job that repeats another well."""
        reproduced = worker_service_pb2.FinishAttemptRequest.Reproduced(
            best_trial=trial_name(self._work.job, best_trial),
            comparisons=[comparison_to_proto(each) for each in comparisons],
        )
        await self._finish(reproduced=reproduced)

    async def failed(self, failure: TrainingFailure) -> None:
        """End the attempt badly."""
        await self._finish(failure=error_to_proto(failure))

    async def stopped(self) -> None:
        """End the attempt as it was told."""
        await self._finish(
            stopped=worker_service_pb2.FinishAttemptRequest.Stopped(preempted=self._preempted)
        )

    async def keep_alive(self) -> None:
        """Prolong the claim and hear orders until cancelled.

        Ends the process when its grant is over: the claim may have passed to another worker, or
        nobody pays. Training runs in a thread, which nothing else can stop.
        """
        clock = asyncio.get_running_loop().time
        request = worker_service_pb2.HeartbeatRequest(claim=self._work.claim)
        held_until = clock() + min(self._work.ttl_s, self._work.granted_s)
        while True:
            asked = clock()
            try:
                with remote_errors(PEER):
                    answer = await self._stub.Heartbeat(
                        request, timeout=max(0.1, held_until - clock())
                    )
                held_until = asked + min(self._work.ttl_s, from_duration(answer.granted))
                self.cost_micros = micros_of(answer.cost)
                self.order = _ORDERS[answer.order]
                if self._preempted and self.order is Order.GO_ON:
                    self.order = Order.PAUSE
                if self.order is Order.CANCEL:
                    _end("worker.cancelled")
            except RemoteError as error:
                _end_if_superseded(error)
            await asyncio.sleep(max(0.0, min(1.0, self._work.ttl_s / 4, held_until - clock())))
            if clock() >= held_until:
                # The trainer is away, or a budget pays for no more.
                _end("worker.grant_over")

    async def keep_reporting(self) -> None:
        """Send what has been gathered, several times a second, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            await self.flush()

    async def flush(self) -> None:
        """Have everything that has been gathered stored before going on."""
        # In turn: a report that overtakes another would make that one look like a repeat.
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        with self._lock:
            points, self._points = self._points, []
            lines, self._log_lines = self._log_lines, []
            trials, self._trials = self._trials, {}
        told = max(len(points), len(lines), len(trials))
        for start in range(0, told, _REPORTED_AT_ONCE):
            part = slice(start, start + _REPORTED_AT_ONCE)
            is_last = part.stop >= told
            self._sequence += 1
            request = worker_service_pb2.ReportMetricsRequest(
                claim=self._work.claim,
                sequence=self._sequence,
                points=[point_to_proto(point) for point in points[part]],
                log_lines=lines[part],
                # A trial is not known to have reached what is not stored yet.
                trials=[trial_to_proto(self._work.job, each) for each in trials.values()]
                if is_last
                else (),
            )
            await self._call(partial(self._report, request))

    async def _report(self, request: worker_service_pb2.ReportMetricsRequest) -> None:
        call = self._stub.ReportMetrics(timeout=self._work.ttl_s)
        await call.write(request)
        await call.done_writing()
        async for _ in call:
            pass

    async def _finish(
        self,
        *,
        success: worker_service_pb2.FinishAttemptRequest.Success | None = None,
        failure: job_pb2.JobError | None = None,
        stopped: worker_service_pb2.FinishAttemptRequest.Stopped | None = None,
        reproduced: worker_service_pb2.FinishAttemptRequest.Reproduced | None = None,
    ) -> None:
        await self.flush()
        request = worker_service_pb2.FinishAttemptRequest(
            claim=self._work.claim,
            success=success,
            failure=failure,
            stopped=stopped,
            reproduced=reproduced,
        )
        await self._call(lambda: self._stub.FinishAttempt(request))

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Try until it passes; `keep_alive` ends the process if the trainer stays away."""
        while True:
            try:
                with remote_errors(PEER):
                    return await call()
            except RemoteError as error:
                _end_if_superseded(error)
                if error.code not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise
            await asyncio.sleep(RETRY_PAUSE_S)


def _end_if_superseded(error: RemoteError) -> None:
    if error.reason == "ATTEMPT_SUPERSEDED":
        _end("worker.superseded")


def _end(event: str) -> NoReturn:
    log.warning(event)
    # No clean-up: everything the worker has is stored, and the job is another's.
    os._exit(SUPERSEDED_EXIT_STATUS)
