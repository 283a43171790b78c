"""`roundhouse.inference.v1.BatchService`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Final, TypeAlias

import grpc
from roundhouse.inference.v1 import batch_pb2 as pb
from roundhouse.inference.v1 import batch_service_pb2 as service_pb
from roundhouse.inference.v1 import batch_service_pb2_grpc as pb_grpc

from services.common.names import PROJECT
from services.common.resources import Meta
from services.common.rpc.convert import to_duration, to_timestamp
from services.common.rpc.inputs import check_settable, page_query
from services.inference.api.requests import Transactions
from services.inference.core.batches import (
    BatchPredictionJob,
    check_columns,
    part_rows_for,
)
from services.inference.core.errors import BatchJobNotFound
from services.inference.core.ports import BatchCatalog, InferenceTx
from services.inference.core.use_cases import batches as use_cases

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages
_Change: TypeAlias = (
    service_pb.CancelBatchPredictionJobRequest
    | service_pb.PauseBatchPredictionJobRequest
    | service_pb.ResumeBatchPredictionJobRequest
    | service_pb.DeleteBatchPredictionJobRequest
)
_UseCase: TypeAlias = Callable[[InferenceTx, str, str, datetime], BatchPredictionJob]

_SETTABLE: Final = ("labels", "snapshot", "model", "part_rows", "max_rows_per_second")
_LOOK_S: Final = 0.25


class BatchServicer(pb_grpc.BatchServiceServicer):
    """Batch predictions over gRPC.

    Args:
        transactions: The service's.
        catalog: The registry.
    """

    def __init__(self, transactions: Transactions, catalog: BatchCatalog) -> None:
        self._transactions = transactions
        self._catalog = catalog

    async def CreateBatchPredictionJob(
        self, request: service_pb.CreateBatchPredictionJobRequest, _: _Context
    ) -> pb.BatchPredictionJob:
        """The job, which waits for its turn."""
        check_settable(request.batch_prediction_job, "batch_prediction_job", _SETTABLE)
        name = f"{request.parent}/batchPredictionJobs/{request.batch_prediction_job_id}"
        job = await self._transactions.read(lambda tx: tx.batch_jobs.get(name))
        if job is None:
            job = await self._planned(request, name)
            if not request.validate_only:
                await self._catalog.pin(name, job.snapshot)
                await self._catalog.pin(name, job.version)
        planned = job
        return await self._transactions.mutate(
            request,
            pb.BatchPredictionJob,
            lambda tx: job_message(use_cases.create_job(tx, planned)),
        )

    async def GetBatchPredictionJob(
        self, request: service_pb.GetBatchPredictionJobRequest, _: _Context
    ) -> pb.BatchPredictionJob:
        """The job with its parts."""
        return job_message(
            await self._transactions.read(lambda tx: use_cases.get_job(tx, request.name))
        )

    async def ListBatchPredictionJobs(
        self, request: service_pb.ListBatchPredictionJobsRequest, _: _Context
    ) -> service_pb.ListBatchPredictionJobsResponse:
        """One page."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read(lambda tx: tx.page_batch_jobs(query))
        return service_pb.ListBatchPredictionJobsResponse(
            batch_prediction_jobs=page.map(summary_message), next_page_token=page.next_page_token
        )

    async def CancelBatchPredictionJob(
        self, request: service_pb.CancelBatchPredictionJobRequest, _: _Context
    ) -> pb.BatchPredictionJob:
        """The job, which is cancelled or about to be."""
        return await self._changed(request, use_cases.cancel_job)

    async def PauseBatchPredictionJob(
        self, request: service_pb.PauseBatchPredictionJobRequest, _: _Context
    ) -> pb.BatchPredictionJob:
        """The job, which is paused."""
        return await self._changed(request, use_cases.pause_job)

    async def ResumeBatchPredictionJob(
        self, request: service_pb.ResumeBatchPredictionJobRequest, _: _Context
    ) -> pb.BatchPredictionJob:
        """The job, which goes on in its turn."""
        return await self._changed(request, use_cases.resume_job)

    async def DeleteBatchPredictionJob(
        self, request: service_pb.DeleteBatchPredictionJobRequest, _: _Context
    ) -> pb.BatchPredictionJob:
        """The job, which is about to be gone."""
        return await self._changed(request, use_cases.delete_job)

    async def WatchBatchPredictionJob(
        self, request: service_pb.WatchBatchPredictionJobRequest, _: _Context
    ) -> AsyncIterator[pb.BatchPredictionJob]:
        """The job at each of its revisions that is seen, up to the last."""
        etag = ""
        while True:
            try:
                job = await self._transactions.read(lambda tx: use_cases.get_job(tx, request.name))
            except BatchJobNotFound:
                if etag:
                    return
                raise
            if job.meta.etag != etag:
                etag = job.meta.etag
                yield summary_message(job)
            if job.state.over:
                return
            await asyncio.sleep(_LOOK_S)

    async def _changed(self, request: _Change, change: _UseCase) -> pb.BatchPredictionJob:
        now = self._transactions.now()
        return await self._transactions.mutate(
            request,
            pb.BatchPredictionJob,
            lambda tx: summary_message(change(tx, request.name, request.etag, now)),
        )

    async def _planned(
        self, request: service_pb.CreateBatchPredictionJobRequest, name: str
    ) -> BatchPredictionJob:
        """The job, if the version can predict the snapshot."""
        given = request.batch_prediction_job
        snapshot = await self._catalog.snapshot(given.snapshot)
        version = await self._catalog.version_of(given.model)
        digest = await self._catalog.digest_of(version)
        check_columns(snapshot, version, await self._catalog.signature(version))
        uid = str(uuid.uuid5(uuid.UUID(request.request_id), "batch_prediction_job"))
        now = self._transactions.now()
        return BatchPredictionJob(
            meta=Meta(name, uid, 1, now, now, dict(given.labels)),
            snapshot=snapshot.name,
            snapshot_digest=snapshot.digest,
            model=given.model,
            version=version,
            version_digest=digest,
            files=snapshot.files,
            key_columns=snapshot.key_columns,
            part_rows=part_rows_for(snapshot.files, given.part_rows),
            max_rows_per_s=given.max_rows_per_second,
        )


def summary_message(job: BatchPredictionJob) -> pb.BatchPredictionJob:
    """`job` as it goes over the wire, without its parts."""
    message = job_message(job)
    message.ClearField("parts")
    return message


def job_message(job: BatchPredictionJob) -> pb.BatchPredictionJob:
    """`job` as it goes over the wire."""
    meta = job.meta
    return pb.BatchPredictionJob(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        labels=meta.labels,
        snapshot=job.snapshot,
        model=job.model,
        part_rows=job.part_rows,
        max_rows_per_second=job.max_rows_per_s,
        state=pb.BatchPredictionJob.State.Value(f"STATE_{job.state}"),
        message=job.message,
        reason=job.reason,
        snapshot_digest=job.snapshot_digest,
        version=job.version,
        version_digest=job.version_digest,
        rows_done=job.rows_done,
        rows_total=job.rows_total,
        rows_per_second=job.rows_per_s,
        remaining=None if job.remaining is None else to_duration(job.remaining.total_seconds()),
        start_time=None if job.start_time is None else to_timestamp(job.start_time),
        end_time=None if job.end_time is None else to_timestamp(job.end_time),
        output_url=job.output_url,
        manifest_digest=job.manifest_digest,
        parts=[
            pb.BatchPredictionJob.Part(
                path=part.path,
                digest=part.digest,
                size_bytes=part.size_bytes,
                rows=part.rows,
                source_file=part.source_file,
                first_row=part.first_row,
            )
            for part in job.written
        ],
    )
