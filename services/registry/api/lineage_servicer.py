"""`roundhouse.registry.v1.LineageService`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from roundhouse.registry.v1 import lineage_service_pb2 as pb
from roundhouse.registry.v1 import lineage_service_pb2_grpc as pb_grpc

from services.registry.api.convert.evidence import direction_from_proto, edge_to_proto
from services.registry.api.transactions import Transactions
from services.registry.core.lineage import walk

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_DEFAULT_HOPS: Final = 8


class LineageServicer(pb_grpc.LineageServiceServicer):
    """What was made from what, over gRPC.

    Args:
        transactions: The registry's.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def QueryLineage(
        self, request: pb.QueryLineageRequest, _: _Context
    ) -> pb.QueryLineageResponse:
        """The graph around one resource."""
        graph = await self._transactions.read(
            lambda tx: walk(
                request.name,
                direction_from_proto(request.direction),
                request.max_hops or _DEFAULT_HOPS,
                tx.edges_at,
            )
        )
        return pb.QueryLineageResponse(
            edges=[edge_to_proto(edge) for edge in graph.edges], truncated=graph.truncated
        )
