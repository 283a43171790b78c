"""`grpc.health.v1`, with streams that survive each other and end with the server.

grpcio-health-checking's asynchronous servicer drops the condition of all watchers of
a service when one of them leaves, and its streams hold a drain up to its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc as pb_grpc

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages


class ServerHealth(pb_grpc.HealthServicer):
    """Whether each service of this server takes calls; NOT_SERVING until `set_serving`.

    Args:
        services: Full proto names; the server as a whole goes by ''.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._names = frozenset({"", *services})
        self._serving = False
        self._changed = asyncio.Event()
        self._ended = False

    def set_serving(self) -> None:
        """Report SERVING for every service."""
        self._serving = True
        self._tell_watchers()

    def end(self) -> None:
        """Report NOT_SERVING for every service, then end the watchers' streams."""
        self._ended = True
        self._serving = False
        self._tell_watchers()

    def _status_of(self, service: str) -> pb.HealthCheckResponse:
        if service not in self._names:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        if self._serving:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)
        return pb.HealthCheckResponse(status=pb.HealthCheckResponse.NOT_SERVING)

    def _tell_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(
        self, request: pb.HealthCheckRequest, context: _Context
    ) -> pb.HealthCheckResponse:
        """The present status; NOT_FOUND for a service that is not here."""
        if request.service not in self._names:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"{request.service!r} is not served here"
            )
        return self._status_of(request.service)

    async def Watch(
        self, request: pb.HealthCheckRequest, _: _Context
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """The present status and each change, until the server drains."""
        sent = None
        while True:
            changed = self._changed
            status = self._status_of(request.service)
            if status != sent:
                yield status
                sent = status
            if self._ended:
                return
            await changed.wait()
