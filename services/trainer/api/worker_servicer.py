"""The WorkerService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TypeAlias

import grpc
from roundhouse.trainer.v1 import worker_service_pb2 as pb
from roundhouse.trainer.v1 import worker_service_pb2_grpc as pb_grpc

from services.common.rpc.convert import to_duration, to_money
from services.trainer.api import convert
from services.trainer.api.transactions import Transactions
from services.trainer.core.errors import NothingToClaim
from services.trainer.core.parameters import Rules
from services.trainer.core.use_cases import attempts, reports
from services.trainer.core.use_cases.attempts import Order, Registered
from services.trainer.core.use_cases.spending import Terms
from services.trainer.wire import (
    checkpoint_from_proto,
    checkpoint_to_proto,
    point_from_proto,
    trial_from_proto,
    trial_to_proto,
)

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

ORDERS: Final = {
    Order.GO_ON: pb.HeartbeatResponse.ORDER_GO_ON,
    Order.PAUSE: pb.HeartbeatResponse.ORDER_PAUSE,
    Order.CANCEL: pb.HeartbeatResponse.ORDER_CANCEL,
}


class WorkerServicer(pb_grpc.WorkerServiceServicer):
    """What worker processes say. Every call may be repeated without a request id.

    Args:
        transactions: Over the trainer's rows.
        terms: That attempts work under.
        recipes: The parameters of each algorithm there is.
    """

    def __init__(
        self, transactions: Transactions, terms: Terms, *, recipes: Mapping[str, Rules]
    ) -> None:
        self._transactions = transactions
        self._terms = terms
        self._recipes = recipes

    async def ClaimJob(self, request: pb.ClaimJobRequest, _: _Context) -> pb.ClaimJobResponse:
        """Takes the job for an attempt."""
        assignment = await self._transactions.write(
            lambda tx: attempts.claim(
                tx, request.job, request.worker, self._terms, node=request.node
            )
        )
        if assignment is None:
            raise NothingToClaim(request.worker)
        return convert.assignment_to_proto(assignment, self._terms)

    async def Heartbeat(self, request: pb.HeartbeatRequest, _: _Context) -> pb.HeartbeatResponse:
        """Prolongs the claim."""
        claim = convert.claim_from_proto(request.claim)
        heard = await self._transactions.write(
            lambda tx: attempts.heartbeat(tx, claim, self._terms)
        )
        return pb.HeartbeatResponse(
            order=ORDERS[heard.order],
            granted=to_duration(heard.granted_s),
            cost=to_money(heard.cost_micros, self._terms.prices.currency),
        )

    async def ReportStage(
        self, request: pb.ReportStageRequest, _: _Context
    ) -> pb.ReportStageResponse:
        """Moves the job to the state of the work at hand."""
        claim = convert.claim_from_proto(request.claim)
        stage = convert.stage_from_proto(request.stage)
        await self._transactions.write(lambda tx: attempts.enter_stage(tx, claim, stage))
        return pb.ReportStageResponse()

    async def ReportMetrics(
        self, requests: AsyncIterator[pb.ReportMetricsRequest], _: _Context
    ) -> AsyncIterator[pb.ReportMetricsResponse]:
        """Stores points, log lines and how trials stand."""
        async for request in requests:
            claim = convert.claim_from_proto(request.claim)
            report = reports.Report(
                request.sequence,
                [point_from_proto(point) for point in request.points],
                list(request.log_lines),
                [trial_from_proto(trial) for trial in request.trials],
            )
            yield pb.ReportMetricsResponse(
                acknowledged_sequence=await self._take_report(claim, report)
            )

    async def AddTrial(self, request: pb.AddTrialRequest, _: _Context) -> pb.AddTrialResponse:
        """Stores the next trial of a job's tuning."""
        claim = convert.claim_from_proto(request.claim)
        proposal = convert.proposal_from_proto(request)
        trial = await self._transactions.write(
            lambda tx: reports.add_trial(tx, claim, proposal, request.position, self._recipes)
        )
        return pb.AddTrialResponse(trial=trial_to_proto(claim.job, trial))

    async def ReportTrial(
        self, request: pb.ReportTrialRequest, _: _Context
    ) -> pb.ReportTrialResponse:
        """Stores how a trial stands."""
        claim = convert.claim_from_proto(request.claim)
        trial = trial_from_proto(request.trial)
        await self._transactions.write(lambda tx: reports.take_trial(tx, claim, trial))
        return pb.ReportTrialResponse()

    async def CommitCheckpoint(
        self, request: pb.CommitCheckpointRequest, _: _Context
    ) -> pb.CommitCheckpointResponse:
        """Makes a checkpoint known to later attempts."""
        claim = convert.claim_from_proto(request.claim)
        checkpoint = checkpoint_from_proto(request.checkpoint)
        gone = await self._transactions.write(
            lambda tx: reports.take_checkpoint(tx, claim, checkpoint)
        )
        return pb.CommitCheckpointResponse(superseded=[checkpoint_to_proto(each) for each in gone])

    async def RejectCheckpoint(
        self, request: pb.RejectCheckpointRequest, _: _Context
    ) -> pb.RejectCheckpointResponse:
        """Forgets a checkpoint that can't be restored."""
        claim = convert.claim_from_proto(request.claim)
        checkpoint = checkpoint_from_proto(request.checkpoint)
        await self._transactions.write(
            lambda tx: reports.reject_checkpoint(tx, claim, checkpoint, request.cause)
        )
        return pb.RejectCheckpointResponse()

    async def FinishAttempt(
        self, request: pb.FinishAttemptRequest, _: _Context
    ) -> pb.FinishAttemptResponse:
        """Ends the attempt."""
        claim = convert.claim_from_proto(request.claim)
        match request.WhichOneof("outcome"):
            case "success":
                result = Registered(
                    model_version=request.success.model_version,
                    evaluation=request.success.evaluation,
                    best_trial=request.success.best_trial,
                )
                await self._transactions.write(lambda tx: attempts.finish(tx, claim, result))
            case "reproduced":
                comparisons = [
                    convert.comparison_from_proto(each) for each in request.reproduced.comparisons
                ]
                await self._transactions.write(
                    lambda tx: attempts.finish_reproduction(
                        tx, claim, request.reproduced.best_trial, comparisons
                    )
                )
            case "failure":
                error = convert.error_from_proto(request.failure)
                await self._transactions.write(lambda tx: attempts.fail(tx, claim, error))
            case _:
                preempted = request.stopped.preempted
                await self._transactions.write(
                    lambda tx: attempts.stop(tx, claim, preempted=preempted)
                )
        return pb.FinishAttemptResponse()

    async def _take_report(self, claim: attempts.Claim, report: reports.Report) -> int:
        return await self._transactions.write(lambda tx: reports.take_report(tx, claim, report))
