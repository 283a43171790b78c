"""Starts and stops a gRPC server the same way in every service."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.rpc.drain import Drain
from services.common.rpc.health import ServerHealth
from services.common.rpc.interceptors.arity import Handler
from services.common.rpc.interceptors.boundary import BoundaryInterceptor
from services.common.rpc.interceptors.observation import ObservationInterceptor

if TYPE_CHECKING:
    from services.common.rpc.native import NativeListener

log = structlog.get_logger()

_KEEPALIVE_S: Final = 60.0
_KEEPALIVE_TIMEOUT_S: Final = 20.0
_MAX_PENDING_CALLS: Final = 10_000
_COLLECT_AFTER_ALLOCATIONS: Final = 20_000

Api: TypeAlias = tuple[str, Callable[[grpc.aio.Server], None]]
"""Full proto name of a service, and what adds its servicer to a server."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server allows its clients.

    Attributes:
        max_message_bytes: Of one request or response; gRPC's own default for requests.
        max_concurrent_rpcs: Open calls, streams included; more are RESOURCE_EXHAUSTED.
        min_ping_interval_s: A client that pings an idle connection more often is cut off.
        drain_timeout_s: How long calls in flight may go on once the server stops.
        deadline_exempt: Prefixes of method paths, such as `/inference.GRPCInferenceService/`,
            whose unary calls need no deadline because stock clients send none.
    """

    max_message_bytes: int = 4 * 2**20
    max_concurrent_rpcs: int = 2048
    min_ping_interval_s: float = 10.0
    drain_timeout_s: float = 10.0
    deadline_exempt: tuple[str, ...] = ()


class RunningServer:
    """A server that takes calls, but reports NOT_SERVING until `set_serving`.

    Attributes:
        port: The bound one, also when port 0 was asked for.
    """

    def __init__(self, port: int, health_servicer: ServerHealth) -> None:
        self.port = port
        self._health = health_servicer

    def set_serving(self) -> None:
        """Report SERVING from now on: everything that calls need has been loaded."""
        self._health.set_serving()
        log.info("server.serving", port=self.port)

    async def serve_forever(self) -> None:
        """Report SERVING and return only by cancellation; for a process that does nothing else."""
        # What start-up made lives as long as the process: looking through it again and again took
        # a sixth of the time of small models' answers, and a twelfth of that of observed rows.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_ALLOCATIONS)
        self.set_serving()
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(
    service: str,
    listen: str,
    apis: Sequence[Api],
    limits: ServerLimits = ServerLimits(),
    native: Sequence[str] = (),
) -> AsyncIterator[RunningServer]:
    """Serve `apis`, health and reflection until the block ends, then drain.

    A drain reports NOT_SERVING, refuses new calls, ends streams of `Watch...` and `Tail...`
    methods with UNAVAILABLE (`DRAINING`), lets other calls finish, and cancels what is left
    after `drain_timeout_s`. A second cancellation cuts it short.

    Args:
        service: Such as `registry`; the domain of its errors is `registry.roundhouse.dev`.
        listen: `host:port`; port 0 picks a free one.
        apis: What to serve. Servicers' methods are coroutines or asynchronous generators.
        limits: What clients are allowed.
        native: Paths of unary methods that `services.common.rpc.native` answers, at a fraction
            of the cost; the others, and all if there are none, are grpc.aio's.

    Raises:
        RuntimeError: The address is taken or is none of this machine's.
    """
    names = [name for name, _ in apis]
    drain = Drain()
    health_servicer = ServerHealth(names)
    interceptors = (
        ObservationInterceptor(),
        BoundaryInterceptor(service, drain, limits.deadline_exempt),
    )
    server = grpc.aio.server(
        interceptors=interceptors,
        options=_options(limits),
        maximum_concurrent_rpcs=limits.max_concurrent_rpcs,
    )
    for _, register in apis:
        register(server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    async with AsyncExitStack() as stack:
        stack.callback(log.info, "server.stopped", service=service)
        if native:
            handlers = await _intercepted(_handlers(apis, native), interceptors)
            listener = await stack.enter_async_context(_native(listen, handlers, server, limits))
            port = listener.port
        else:
            listener = None
            port = server.add_insecure_port(listen)
            await server.start()
        log.info("server.started", service=service, listen=listen, port=port, transport="plaintext")
        try:
            yield RunningServer(port, health_servicer)
        finally:
            log.info("server.draining", service=service, limit_s=limits.drain_timeout_s)
            health_servicer.end()
            drain.begin()
            async with asyncio.TaskGroup() as drains:
                drains.create_task(server.stop(limits.drain_timeout_s))
                if listener is not None:
                    drains.create_task(listener.drain(limits.drain_timeout_s))


@asynccontextmanager
async def _native(
    listen: str, handlers: Mapping[str, Handler], server: grpc.aio.Server, limits: ServerLimits
) -> AsyncIterator[NativeListener]:
    """A listener in front of `server`, which it starts on a socket of its own."""
    # Only the inference service installs what this stands on.
    from services.common.rpc.native import NativeLimits, NativeListener

    with tempfile.TemporaryDirectory(prefix="roundhouse-rpc-") as folder:
        socket = f"{folder}/rpc.sock"
        server.add_insecure_port(f"unix:{socket}")
        listener = NativeListener(
            listen,
            handlers,
            socket,
            NativeLimits(
                limits.max_message_bytes,
                limits.max_concurrent_rpcs,
                _KEEPALIVE_S,
                _KEEPALIVE_TIMEOUT_S,
            ),
        )
        await server.start()
        listener.start()
        try:
            yield listener
        finally:
            await listener.close()


class _Registrations:
    """Takes what generated code registers on a server, to look handlers up in it."""

    def __init__(self) -> None:
        self._generic: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """As a server's."""
        self._generic += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """As a server's; generated code registers the same generically."""

    def handler(self, path: str) -> Handler:
        """The handler of a method that was registered."""
        details = _CallDetails(path)
        return next(found for each in self._generic if (found := each.service(details)))


@dataclass(frozen=True, slots=True)
class _CallDetails(grpc.HandlerCallDetails):
    """What interceptors are asked about: a method, before any call of it."""

    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


def _handlers(apis: Sequence[Api], paths: Sequence[str]) -> dict[str, Handler]:
    registrations = _Registrations()
    for _, register in apis:
        register(registrations)  # type: ignore[arg-type]  # a part of a server is enough
    return {path: registrations.handler(path) for path in paths}


async def _intercepted(
    handlers: Mapping[str, Handler], interceptors: Sequence[grpc.aio.ServerInterceptor]
) -> dict[str, Handler]:
    """Each handler inside the interceptors, the first of which is the outermost."""
    wrapped = {}
    for path, handler in handlers.items():
        details = _CallDetails(path)
        for interceptor in reversed(interceptors):
            handler = await _inside(interceptor, handler, details)
        wrapped[path] = handler
    return wrapped


async def _inside(
    interceptor: grpc.aio.ServerInterceptor, handler: Handler, details: _CallDetails
) -> Handler:
    async def continuation(_: grpc.HandlerCallDetails) -> Handler:
        return handler

    outer = await interceptor.intercept_service(continuation, details)
    assert outer is not None
    return outer


def _options(limits: ServerLimits) -> list[tuple[str, int]]:
    return [
        # Otherwise a second process binds the same port and silently takes half the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.keepalive_time_ms", int(_KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", int(_KEEPALIVE_TIMEOUT_S * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            int(limits.min_ping_interval_s * 1000),
        ),
        ("grpc.http2.max_ping_strikes", 3),
        # Beyond 1,000 calls that wait to be begun, gRPC cancels new ones at random: one client
        # that opened and reset streams got a quarter of another's calls CANCELLED.
        ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_PENDING_CALLS),
    ]
