"""Stubs of all four services, and calls that outlast a restart."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from roundhouse.common.v1 import events_pb2_grpc
from roundhouse.inference.v1 import endpoint_service_pb2_grpc, rollout_service_pb2_grpc
from roundhouse.monitor.v1 import (
    ingest_service_pb2_grpc,
    judgement_service_pb2_grpc,
    monitor_service_pb2_grpc,
    retrain_service_pb2_grpc,
)
from roundhouse.registry.v1 import (
    dataset_service_pb2_grpc,
    evaluation_service_pb2_grpc,
    model_service_pb2_grpc,
)
from roundhouse.trainer.v1 import job_service_pb2_grpc

from services.common.rpc.client import connect
from services.common.rpc.remote import cancellation_is_wanted
from tests.system.suite import SERVICES, Suite

# What a service that is killed or starting again answers, or fails to.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
}
# What grpc.aio makes of a stream whose connection breaks under a write.
BROKEN_STREAM = grpc.StatusCode.INTERNAL
_PATIENCE_S = 180.0
_POLL_S = 0.1

# Stubs are generic over every method's messages.
_Method = Callable[..., Any]


@dataclass(frozen=True)
class Clients:
    """A stub of each service's each API."""

    datasets: dataset_service_pb2_grpc.DatasetServiceStub
    models: model_service_pb2_grpc.ModelServiceStub
    evaluations: evaluation_service_pb2_grpc.EvaluationServiceStub
    jobs: job_service_pb2_grpc.JobServiceStub
    endpoints: endpoint_service_pb2_grpc.EndpointServiceStub
    rollouts: rollout_service_pb2_grpc.RolloutServiceStub
    monitors: monitor_service_pb2_grpc.MonitorServiceStub
    retraining: retrain_service_pb2_grpc.RetrainServiceStub
    judgements: judgement_service_pb2_grpc.JudgementServiceStub
    ingest: ingest_service_pb2_grpc.IngestServiceStub
    events: dict[str, events_pb2_grpc.EventServiceStub]


@asynccontextmanager
async def clients_of(suite: Suite) -> AsyncIterator[Clients]:
    """Clients that find a restarted service again by themselves."""
    async with AsyncExitStack() as stack:
        channel = {
            service: await stack.enter_async_context(connect(suite.address(service)))
            for service in SERVICES
        }
        registry, trainer = channel["registry"], channel["trainer"]
        inference, monitor = channel["inference"], channel["monitor"]
        yield Clients(
            datasets=dataset_service_pb2_grpc.DatasetServiceStub(registry),
            models=model_service_pb2_grpc.ModelServiceStub(registry),
            evaluations=evaluation_service_pb2_grpc.EvaluationServiceStub(registry),
            jobs=job_service_pb2_grpc.JobServiceStub(trainer),
            endpoints=endpoint_service_pb2_grpc.EndpointServiceStub(inference),
            rollouts=rollout_service_pb2_grpc.RolloutServiceStub(inference),
            monitors=monitor_service_pb2_grpc.MonitorServiceStub(monitor),
            retraining=retrain_service_pb2_grpc.RetrainServiceStub(monitor),
            judgements=judgement_service_pb2_grpc.JudgementServiceStub(monitor),
            ingest=ingest_service_pb2_grpc.IngestServiceStub(monitor),
            events={
                service: events_pb2_grpc.EventServiceStub(channel[service]) for service in SERVICES
            },
        )


async def answered(method: _Method, request: Any, *, timeout_s: float = 20.0) -> Any:
    """The answer of a unary method, asked again with the same request while its service is away.

    Args:
        method: Of a stub; a mutation must carry a request id.
        request: A message, or a function that gives the messages of a stream anew.
        timeout_s: Of each try.
    """

    async def once() -> Any:
        argument = request() if callable(request) else request
        return await method(argument, timeout=timeout_s)

    return await _patiently(once, PASSING | {BROKEN_STREAM} if callable(request) else PASSING)


async def all_answered(method: _Method, request: Callable[[], Iterator[Any]]) -> list[Any]:
    """The answers of a stream to a stream, asked again whole while its service is away."""

    async def once() -> list[Any]:
        return [answer async for answer in method(request(), timeout=20.0)]

    return await _patiently(once, PASSING | {BROKEN_STREAM})


async def until(
    condition: Callable[[], Awaitable[Any]], *, what: str, timeout_s: float = _PATIENCE_S
) -> Any:
    """The first result of `condition` that is true.

    Raises:
        TimeoutError: There was none within `timeout_s`; the message says `what` was awaited.
    """
    deadline = time.monotonic() + timeout_s
    while not (result := await condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {timeout_s:.0f} s")
        await asyncio.sleep(_POLL_S)
    return result


def request_id(step: str) -> str:
    """The same id for the same step, so that a repeat changes nothing."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, step))


async def _patiently(once: Callable[[], Awaitable[Any]], passing: set[grpc.StatusCode]) -> Any:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await once()
        except grpc.aio.AioRpcError as error:
            if error.code() not in passing or time.monotonic() > deadline:
                raise
        except asyncio.CancelledError:
            if cancellation_is_wanted() or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_POLL_S)
