"""Carries sealed segments to the monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import pyarrow as pa
import structlog

from services.common.errors import InvalidArgument, ServiceError
from services.inference.adapters.observation_frames import read_segment
from services.inference.adapters.observation_log import SealedSegment, SegmentLog

log = structlog.get_logger()

_LAST_PAUSE_S: Final = 10.0


class ObservationSink(Protocol):
    """Who makes observations durable."""

    async def deliver(self, batches: Sequence[tuple[str, pa.RecordBatch]]) -> None:
        """Return once every batch is durable; a batch id seen before changes nothing.

        Raises:
            InvalidArgument: The batches can never be accepted.
            ServiceError: Not now.
        """
        ...


class ObservationSender:
    """Sends segments, oldest first, each until it is acknowledged.

    A segment's batches have ids made from its own, and sealed segments never
    change, so sending one again after a lost answer is harmless.

    Args:
        segments: The log.
        sink: The monitor.
        pause_s: Seconds between looks at the log.
    """

    def __init__(self, segments: SegmentLog, sink: ObservationSink, pause_s: float = 0.25) -> None:
        self._segments = segments
        self._sink = sink
        self._pause_s = pause_s

    async def run(self) -> None:
        """Send until cancelled."""
        pause_s = self._pause_s
        while True:
            self._segments.seal_if_due()
            try:
                await self._send_sealed()
                pause_s = self._pause_s
            except ServiceError as error:
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                log.warning("observations.held", reason=error.reason, retry_s=pause_s)
            await asyncio.sleep(pause_s)

    async def flush(self, timeout_s: float) -> None:
        """Send everything, or as much as the time allows; the rest stays on the disk."""
        self._segments.seal()
        try:
            async with asyncio.timeout(timeout_s):
                await self._send_sealed()
        except (TimeoutError, ServiceError) as error:
            left = sum(segment.rows for segment in self._segments.sealed)
            log.warning("observations.left_on_disk", rows=left, error=repr(error))

    async def _send_sealed(self) -> None:
        for segment in self._segments.sealed:
            try:
                await self._send(segment)
            except InvalidArgument:
                log.exception("observations.rejected", segment=segment.id)
                self._segments.reject(segment)

    async def _send(self, segment: SealedSegment) -> None:
        content = await asyncio.to_thread(segment.path.read_bytes)
        decoded = await asyncio.to_thread(read_segment, content)
        await self._sink.deliver(
            [(f"{segment.id}-{index}", batch) for index, batch in enumerate(decoded.batches)]
        )
        self._segments.acknowledge(segment)
