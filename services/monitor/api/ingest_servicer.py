"""`roundhouse.monitor.v1.IngestService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from roundhouse.monitor.v1 import ingest_service_pb2 as service_pb
from roundhouse.monitor.v1 import ingest_service_pb2_grpc as pb_grpc

from services.monitor.core.ports import ObservationLog

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]  # generic over every method's messages

B = TypeVar("B", service_pb.IngestObservationsRequest, service_pb.IngestOutcomesRequest)

MAX_IN_FLIGHT: Final = 32
"""Batches of one stream that become durable at once; at 3 MiB each, memory stays bounded."""


class IngestServicer(pb_grpc.IngestServiceServicer):
    """Takes in observations and outcomes over gRPC.

    Args:
        log: Keeps them.
    """

    def __init__(self, log: ObservationLog) -> None:
        self._log = log

    async def IngestObservations(
        self, batches: AsyncIterator[service_pb.IngestObservationsRequest], _: _Context
    ) -> AsyncIterator[service_pb.IngestObservationsResponse]:
        """An acknowledgement of each batch once it is durable."""
        async with aclosing(_stored(batches, self._log.append_observations)) as stored:
            async for batch_id, rows in stored:
                yield service_pb.IngestObservationsResponse(batch_id=batch_id, rows=rows)

    async def IngestOutcomes(
        self, batches: AsyncIterator[service_pb.IngestOutcomesRequest], _: _Context
    ) -> AsyncIterator[service_pb.IngestOutcomesResponse]:
        """An acknowledgement of each batch once it is durable."""
        async with aclosing(_stored(batches, self._log.append_outcomes)) as stored:
            async for batch_id, rows in stored:
                yield service_pb.IngestOutcomesResponse(batch_id=batch_id, rows=rows)


async def _stored(
    batches: AsyncIterator[B], append: Callable[[str, bytes], Awaitable[int]]
) -> AsyncGenerator[tuple[str, int]]:
    """The id and the rows of each batch in the order in which they become durable."""

    async def read() -> B | None:
        return await anext(batches, None)

    async def store(batch: B) -> tuple[str, int]:
        return batch.batch_id, await append(batch.batch_id, batch.arrow_stream)

    reading: asyncio.Task[B | None] | None = asyncio.create_task(read())
    storing: set[asyncio.Task[tuple[str, int]]] = set()
    try:
        while reading or storing:
            waiting: set[asyncio.Task[Any]] = {*storing}
            if reading and len(storing) < MAX_IN_FLIGHT:
                waiting.add(reading)
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in storing if task.done()]:
                storing.remove(task)
                yield task.result()
            if reading and reading in waiting and reading.done():
                batch = reading.result()
                reading = None
                if batch is not None:
                    storing.add(asyncio.create_task(store(batch)))
                    reading = asyncio.create_task(read())
    finally:
        left = [*storing, *([reading] if reading else [])]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
