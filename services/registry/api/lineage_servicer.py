"""`roundhouse.registry.v1.LineageService`."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from roundhouse.registry.v1 import lineage_service_pb2 as pb
from roundhouse.registry.v1 import lineage_service_pb2_grpc as pb_grpc

from services.registry.api.convert.lineage import (
    deployment_from_proto,
    deployment_to_proto,
    directions_from_proto,
    edge_to_proto,
    node_to_proto,
)
from services.registry.api.transactions import Transactions
from services.registry.core.lineage import Bounds, walk
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.deployments import record_deployment

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

_DEFAULT_HOPS: Final = 8
_DEFAULT_EDGES: Final = 1_000


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
        directions = directions_from_proto(request.direction)
        bounds = Bounds(request.max_hops or _DEFAULT_HOPS, request.max_edges or _DEFAULT_EDGES)

        def around(tx: RegistryTx) -> pb.QueryLineageResponse:
            graph = walk(request.name, directions, bounds, tx.edges_at)
            return pb.QueryLineageResponse(
                edges=[edge_to_proto(edge) for edge in graph.edges],
                truncated=graph.truncated,
                nodes=[node_to_proto(node) for node in tx.nodes(graph.names)],
            )

        return await self._transactions.read(around)

    async def RecordDeployment(
        self, request: pb.RecordDeploymentRequest, _: _Context
    ) -> pb.Deployment:
        """The report, kept."""
        deployment = deployment_from_proto(request.deployment)
        return await self._transactions.mutate(
            request,
            pb.Deployment,
            lambda tx: deployment_to_proto(record_deployment(tx, deployment)),
        )
