"""The JobService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import job_service_pb2 as pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as pb_grpc

from services.common.names import PROJECT
from services.common.rpc.inputs import check_settable, page_query
from services.trainer.api.admission import Admission
from services.trainer.api.convert import job_to_proto, log_line_to_proto, shown
from services.trainer.api.money import from_money
from services.trainer.api.naming import queue_id, traceparent
from services.trainer.api.reproductions import Reproductions
from services.trainer.api.transactions import Transactions
from services.trainer.core.jobs import NOBODY, TRAINING_JOB, TrainingJob
from services.trainer.core.parameters import Rules
from services.trainer.core.ports import TrainerReads, TrainerTx, VersionEvaluator
from services.trainer.core.purposes import Purpose, usual_purpose
from services.trainer.core.spec import JobSpec
from services.trainer.core.use_cases import submission
from services.trainer.core.use_cases.spending import Terms
from services.trainer.core.use_cases.submission import NewJob
from services.trainer.core.validation import ROOT
from services.trainer.wire import (
    checkpoint_to_proto,
    point_to_proto,
    spec_from_proto,
    trial_to_proto,
)

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

QUIET_S = 5.0
"""Longest silence between two looks of a stream that follows a job."""

BATCH = 1000
SETTABLE = frozenset({"labels", "spec", "owner", "budget", "priority", "critical", "queue"})


class JobServicer(pb_grpc.JobServiceServicer):
    """What people and other services do with jobs.

    Args:
        transactions: Over the trainer's rows.
        admission: Of every job.
        reproductions: Takes those that repeat others.
        evaluator: Scores versions.
        terms: That attempts work under.
        recipes: The parameters of each algorithm there is.
    """

    def __init__(
        self,
        transactions: Transactions,
        admission: Admission,
        reproductions: Reproductions,
        evaluator: VersionEvaluator,
        *,
        terms: Terms,
        recipes: Mapping[str, Rules],
    ) -> None:
        self._transactions = transactions
        self._admission = admission
        self._reproductions = reproductions
        self._evaluator = evaluator
        self._terms = terms
        self._recipes = recipes

    async def CreateTrainingJob(
        self, request: pb.CreateTrainingJobRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Submits a job."""
        if not request.validate_only:
            before = await self._transactions.answered(request, job_pb2.TrainingJob)
            if before is not None:
                return before
        check_settable(request.training_job, "training_job", SETTABLE)
        spec, budget_micros = self._asked(request.training_job)
        await self._admission.check(spec)
        new = NewJob(
            name=TRAINING_JOB.format(
                project=PROJECT.id_of(request.parent), training_job=request.training_job_id
            ),
            labels=dict(request.training_job.labels),
            spec=spec,
            traceparent=traceparent(),
            owner=request.training_job.owner or NOBODY,
            budget_micros=budget_micros,
            priority=request.training_job.priority,
            critical=request.training_job.critical,
            queue=queue_id(request.training_job.queue, request.parent, "training_job.queue"),
        )
        if not request.validate_only:
            await self._admission.pin(new)
        return await self._transactions.mutate(
            request,
            job_pb2.TrainingJob,
            lambda tx, reads: self._shown(
                submission.submit(tx, new, self._recipes, self._terms), reads
            ),
        )

    async def ReproduceTrainingJob(
        self, request: pb.ReproduceTrainingJobRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Submits a job that repeats another."""
        if not request.validate_only:
            before = await self._transactions.answered(request, job_pb2.TrainingJob)
            if before is not None:
                return before
        return await self._reproductions.submit(request)

    async def GetTrainingJob(
        self, request: pb.GetTrainingJobRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Gives one job."""
        return await self._transactions.read(
            lambda tx, reads: self._shown(submission.existing(tx, request.name), reads)
        )

    async def ListTrainingJobs(
        self, request: pb.ListTrainingJobsRequest, _: _Context
    ) -> pb.ListTrainingJobsResponse:
        """Lists a project's jobs."""
        query = page_query(request, PROJECT)

        def listed(_: object, reads: TrainerReads) -> pb.ListTrainingJobsResponse:
            page = reads.jobs(query)
            progress, holding = reads.progress_of(page.items), reads.holding(page.items)
            currency = self._terms.prices.currency
            return pb.ListTrainingJobsResponse(
                training_jobs=[
                    job_to_proto(job, progress[job.name], currency, holding.get(job.name, ""))
                    for job in page.items
                ],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read(listed)

    async def CancelTrainingJob(
        self, request: pb.CancelTrainingJobRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Cancels a job."""
        return await self._transactions.mutate(
            request,
            job_pb2.TrainingJob,
            lambda tx, reads: self._shown(submission.cancel(tx, request.name, request.etag), reads),
        )

    async def PauseTrainingJob(
        self, request: pb.PauseTrainingJobRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Pauses a job."""
        return await self._transactions.mutate(
            request,
            job_pb2.TrainingJob,
            lambda tx, reads: self._shown(submission.pause(tx, request.name, request.etag), reads),
        )

    async def ResumeTrainingJob(
        self, request: pb.ResumeTrainingJobRequest, _: _Context
    ) -> job_pb2.TrainingJob:
        """Goes on with a paused job."""
        return await self._transactions.mutate(
            request,
            job_pb2.TrainingJob,
            lambda tx, reads: self._shown(
                submission.resume(tx, request.name, request.etag, self._terms), reads
            ),
        )

    async def DeleteTrainingJob(self, request: pb.DeleteTrainingJobRequest, _: _Context) -> Empty:
        """Deletes a job that is over."""

        def deleted(tx: TrainerTx, _: object) -> Empty:
            submission.delete(tx, request.name, request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, deleted)

    async def ListTrials(self, request: pb.ListTrialsRequest, _: _Context) -> pb.ListTrialsResponse:
        """Lists a job's trials."""
        query = page_query(request)

        def listed(tx: TrainerTx, reads: TrainerReads) -> pb.ListTrialsResponse:
            job = submission.existing(tx, request.parent)
            page = reads.trials(query, job.uid)
            return pb.ListTrialsResponse(
                trials=[trial_to_proto(job.name, trial) for trial in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read(listed)

    async def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, _: _Context
    ) -> pb.ListCheckpointsResponse:
        """Lists what a job could go on from."""
        query = page_query(request)

        def listed(tx: TrainerTx, reads: TrainerReads) -> pb.ListCheckpointsResponse:
            job = submission.existing(tx, request.parent)
            page = reads.checkpoints(query, job.uid)
            return pb.ListCheckpointsResponse(
                checkpoints=[checkpoint_to_proto(found) for found in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read(listed)

    async def ReadMetrics(
        self, request: pb.ReadMetricsRequest, _: _Context
    ) -> pb.ReadMetricsResponse:
        """Reads a job's series."""
        query = page_query(request)

        def listed(tx: TrainerTx, reads: TrainerReads) -> pb.ReadMetricsResponse:
            job = submission.existing(tx, request.parent)
            page = reads.points(query, job.uid, request.series)
            return pb.ReadMetricsResponse(
                points=[point_to_proto(point) for point in page.items],
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read(listed)

    async def WatchTrainingJob(
        self, request: pb.WatchTrainingJobRequest, _: _Context
    ) -> AsyncIterator[pb.WatchTrainingJobResponse]:
        """Streams the job and its trials until it is over."""
        position = 0
        last = pb.WatchTrainingJobResponse()

        def look(
            tx: TrainerTx, reads: TrainerReads
        ) -> tuple[pb.WatchTrainingJobResponse, int, bool]:
            job = submission.existing(tx, request.name)
            points, reached = reads.points_after(job.uid, position, BATCH)
            shown = pb.WatchTrainingJobResponse(
                training_job=self._shown(job, reads),
                trials=[trial_to_proto(job.name, trial) for trial in tx.trials(job.uid)],
                points=[point_to_proto(point) for point in points],
            )
            return shown, reached, job.state.over and len(points) < BATCH

        while True:
            moment = self._transactions.moment()
            shown, position, over = await self._transactions.read(look)
            if shown != last:
                yield shown
            if over:
                return
            last = shown
            del last.points[:]
            await self._transactions.passed(moment, QUIET_S)

    async def TailLogs(
        self, request: pb.TailLogsRequest, _: _Context
    ) -> AsyncIterator[job_pb2.LogLine]:
        """Streams a job's log."""
        number = request.after

        def look(tx: TrainerTx, reads: TrainerReads) -> tuple[list[job_pb2.LogLine], bool]:
            job = submission.existing(tx, request.name)
            lines = [log_line_to_proto(x) for x in reads.log_after(job.uid, number, BATCH)]
            return lines, job.state.over

        while True:
            moment = self._transactions.moment()
            lines, over = await self._transactions.read(look)
            for line in lines:
                yield line
                number = line.number
            if len(lines) == BATCH:
                continue
            if over or not request.follow:
                return
            await self._transactions.passed(moment, QUIET_S)

    async def EvaluateVersion(
        self, request: pb.EvaluateVersionRequest, _: _Context
    ) -> pb.EvaluateVersionResponse:
        """Scores a version and records it."""
        before = await self._transactions.answered(request, pb.EvaluateVersionResponse)
        if before is not None:
            return before
        job = await self._transactions.read(
            lambda tx, _: submission.existing(tx, request.training_job)
        )
        scored = await self._evaluator.evaluate(
            request.version,
            job.spec,
            request.split,
            purpose=_purpose(request, job),
            request_id=request.request_id,
        )
        response = pb.EvaluateVersionResponse(evaluation=scored.evaluation, metrics=scored.metrics)
        return await self._transactions.mutate(
            request, pb.EvaluateVersionResponse, lambda _, __: response
        )

    def _asked(self, job: job_pb2.TrainingJob) -> tuple[JobSpec, int | None]:
        """The spec and the budget that a request asks for.

        Raises:
            InvalidRequest: An amount is of another currency, negative or too fine.
        """
        currency = self._terms.prices.currency
        if job.spec.tuning.HasField("max_cost"):
            from_money(job.spec.tuning.max_cost, currency, f"{ROOT}.tuning.max_cost")
        budget = None
        if job.HasField("budget"):
            budget = from_money(job.budget, currency, "training_job.budget")
        return spec_from_proto(job.spec), budget

    def _shown(self, job: TrainingJob, reads: TrainerReads) -> job_pb2.TrainingJob:
        return shown(job, reads, self._terms.prices.currency)


def _purpose(request: pb.EvaluateVersionRequest, job: TrainingJob) -> Purpose:
    if request.purpose:
        name = pb.EvaluateVersionRequest.Purpose.Name(request.purpose)
        return Purpose(name.removeprefix("PURPOSE_"))
    return usual_purpose(request.split, is_own=request.version == job.model_version)
