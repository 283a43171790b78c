"""Prediction logs on every store that they run on, and a log that is written and followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.monitor.adapters.log.commits import GroupCommitter
from services.monitor.adapters.log.delta_log import DeltaPredictionLog
from services.monitor.adapters.log.intake import ArrowIntake
from services.monitor.core.stream.batches import Batch
from tests.support.seaweedfs import S3Server

NOW = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a log lives."""

    url: str
    options: dict[str, str] = field(default_factory=dict)

    async def open(self) -> DeltaPredictionLog:
        """The log as it was left."""
        return await DeltaPredictionLog.open(self.url, self.options)


def s3_place(server: S3Server, url: str) -> LogPlace:
    """A log in a bucket."""
    connection = server.connection
    return LogPlace(
        f"{url}/predictions",
        {
            "AWS_ENDPOINT_URL": f"http://{connection.endpoint}",
            "AWS_ACCESS_KEY_ID": connection.access_key,
            "AWS_SECRET_ACCESS_KEY": connection.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "aws_conditional_put": "etag",
        },
    )


@dataclass(frozen=True, slots=True)
class WrittenLog:
    """A log that takes batches.

    Attributes:
        log: The log.
        committer: Its only writer.
        intake: Takes Arrow streams.
        delivered: Batches that became durable, in order.
    """

    log: DeltaPredictionLog
    committer: GroupCommitter
    intake: ArrowIntake
    delivered: list[Batch]


@asynccontextmanager
async def written_log(place: LogPlace) -> AsyncIterator[WrittenLog]:
    """The log at `place`, written until the block ends."""
    log = await place.open()
    delivered: list[Batch] = []

    def deliver(batches: Sequence[Batch]) -> None:
        delivered.extend(batches)

    committer = GroupCommitter(log, deliver, lambda: NOW, interval_s=0.01)
    await committer.load()
    running = asyncio.ensure_future(committer.run())
    try:
        yield WrittenLog(log, committer, ArrowIntake(committer, log), delivered)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        log.close()
