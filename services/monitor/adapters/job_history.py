"""The trainer's jobs that are over, for objectives about jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import grpc
from roundhouse.trainer.v1 import job_pb2 as job_pb
from roundhouse.trainer.v1 import job_service_pb2 as service_pb
from roundhouse.trainer.v1 import job_service_pb2_grpc as service_grpc

from services.common.rpc.convert import from_timestamp
from services.common.rpc.remote import DependencyUnavailable, RemoteError, remote_errors

_PEER: Final = "trainer"
_ENDED: Final = "state = SUCCEEDED OR state = FAILED OR state = BUDGET_EXCEEDED"
_PAGE_SIZE: Final = 1000


class TrainerJobHistory:
    """Implements `JobHistory`.

    Args:
        channel: To the trainer.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._jobs = service_grpc.JobServiceStub(channel)

    async def ended(self, project: str) -> Sequence[tuple[datetime, bool]]:
        """See `JobHistory`."""
        request = service_pb.ListTrainingJobsRequest(
            parent=project, page_size=_PAGE_SIZE, filter=_ENDED
        )
        found: list[tuple[datetime, bool]] = []
        while True:
            page = await self._page(request)
            found += [
                (
                    from_timestamp(job.update_time),
                    job.state == job_pb.TrainingJob.STATE_SUCCEEDED,
                )
                for job in page.training_jobs
            ]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def _page(
        self, request: service_pb.ListTrainingJobsRequest
    ) -> service_pb.ListTrainingJobsResponse:
        try:
            with remote_errors(_PEER):
                return await self._jobs.ListTrainingJobs(request)
        except RemoteError as error:
            raise DependencyUnavailable(_PEER) from error
