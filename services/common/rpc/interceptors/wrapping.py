"""Interceptors that stand around every method, once for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import grpc

from services.common.rpc.conventions import INFRASTRUCTURE_PREFIXES
from services.common.rpc.interceptors.arity import Handler


class WrappingInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Wraps each method's handler at its first call, but those of health and reflection."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, wrapped."""
        path = handler_call_details.method
        if path in self._wrapped:
            return self._wrapped[path]
        handler = await continuation(handler_call_details)
        if handler is None or path.startswith(INFRASTRUCTURE_PREFIXES):
            return handler
        return self._wrapped.setdefault(path, self._wrap(path, handler))

    @abstractmethod
    def _wrap(self, path: str, handler: Handler) -> Handler:
        """The handler with what stands around it."""
