"""The monitor over gRPC: takes observations in and judges rollouts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final

import grpc
import pyarrow as pa
from roundhouse.monitor.v1 import ingest_service_pb2 as ingest
from roundhouse.monitor.v1 import ingest_service_pb2_grpc as ingest_grpc
from roundhouse.monitor.v1 import judgement_service_pb2 as judgement
from roundhouse.monitor.v1 import judgement_service_pb2_grpc as judgement_grpc

from services.common.criteria import Verdict
from services.common.errors import InvalidArgument
from services.common.rpc.convert import to_timestamp
from services.common.rpc.remote import (
    DependencyUnavailable,
    RemoteError,
    as_own_failure,
    remote_errors,
)
from services.common.rpc.verdicts import criteria_message, finding_of
from services.inference.core.rollouts import Judgement, Rollout
from services.inference.core.routing import WHOLE_BP

_MONITOR: Final = "monitor"
_DELIVERY_TIMEOUT_S: Final = 30.0
_VERDICTS: Final = {
    judgement.JudgeRolloutResponse.VERDICT_PASS: Verdict.PASS,
    judgement.JudgeRolloutResponse.VERDICT_FAIL: Verdict.FAIL,
    judgement.JudgeRolloutResponse.VERDICT_INCONCLUSIVE: Verdict.INCONCLUSIVE,
}


class ObservationsRefused(InvalidArgument):
    """The monitor will never take these batches."""

    reason = "OBSERVATIONS_REFUSED"

    def __init__(self, error: RemoteError) -> None:
        super().__init__(f"The monitor refuses the batches: {error.message}", cause=error.reason)


class MonitorClient:
    """Implements `ObservationSink` and `Judge`.

    Args:
        channel: To the monitor.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._ingest = ingest_grpc.IngestServiceStub(channel)
        self._judgement = judgement_grpc.JudgementServiceStub(channel)

    async def deliver(self, batches: Sequence[tuple[str, pa.RecordBatch]]) -> None:
        """See `ObservationSink`."""
        missing = {batch_id for batch_id, _ in batches}
        try:
            with remote_errors(_MONITOR):
                call = self._ingest.IngestObservations(
                    _requests(batches), timeout=_DELIVERY_TIMEOUT_S
                )
                async for answer in call:
                    missing.discard(answer.batch_id)
        except RemoteError as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                raise ObservationsRefused(error) from error
            raise as_own_failure(error) or DependencyUnavailable(_MONITOR) from error
        if missing:
            raise DependencyUnavailable(_MONITOR)

    async def judge(self, rollout: Rollout, since: datetime) -> Judgement:
        """See `Judge`."""
        phase = rollout.phases[rollout.current_phase]
        request = judgement.JudgeRolloutRequest(
            endpoint=rollout.endpoint,
            candidate=rollout.version,
            champion=rollout.previous_version,
            since_time=to_timestamp(since),
            min_outcomes=phase.min_outcomes,
            criteria=criteria_message(rollout.criteria(rollout.current_phase)),
            alone=phase.weight_bp == WHOLE_BP,
        )
        try:
            with remote_errors(_MONITOR):
                answer = await self._judgement.JudgeRollout(request)
        except RemoteError as error:
            raise as_own_failure(error) or DependencyUnavailable(_MONITOR) from error
        return Judgement(
            _VERDICTS.get(answer.verdict, Verdict.INCONCLUSIVE),
            answer.reason,
            dict(answer.numbers),
            tuple(finding_of(finding) for finding in answer.findings),
        )

    async def hold(self, endpoint: str) -> str:
        """See `Judge`."""
        request = judgement.GetRolloutHoldRequest(endpoint=endpoint)
        try:
            with remote_errors(_MONITOR):
                answer = await self._judgement.GetRolloutHold(request)
        except RemoteError as error:
            raise as_own_failure(error) or DependencyUnavailable(_MONITOR) from error
        return answer.reason


async def _requests(
    batches: Sequence[tuple[str, pa.RecordBatch]],
) -> AsyncIterator[ingest.IngestObservationsRequest]:
    for batch_id, batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield ingest.IngestObservationsRequest(
            batch_id=batch_id, arrow_stream=sink.getvalue().to_pybytes()
        )
