"""What training cost, as the trainer has charged it."""

from __future__ import annotations

import grpc
from roundhouse.trainer.v1 import cost_service_pb2 as pb
from roundhouse.trainer.v1 import cost_service_pb2_grpc as pb_grpc

from services.common.rpc.remote import remote_errors
from services.monitor.core.ports import Cost, Costs


class TrainerCosts:
    """Implements `TrainingCosts`.

    Args:
        channel: To the trainer.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._costs = pb_grpc.CostServiceStub(channel)

    async def of(self, project: str) -> Costs:
        """See `TrainingCosts`."""
        months = await self._by(project, pb.QueryCostsRequest.GROUP_BY_MONTH)
        return Costs(
            await self._by(project, pb.QueryCostsRequest.GROUP_BY_MODEL),
            sorted(months, key=lambda cost: cost.group),
        )

    async def _by(
        self, project: str, group_by: pb.QueryCostsRequest.GroupBy.ValueType
    ) -> list[Cost]:
        request = pb.QueryCostsRequest(parent=project, group_by=group_by)
        with remote_errors("trainer"):
            answer = await self._costs.QueryCosts(request)
        return [
            Cost(
                line.group,
                line.cost.units * 1_000_000 + line.cost.nanos // 1000,
                line.cost.currency_code,
                line.charged.seconds,
            )
            for line in answer.lines
        ]
