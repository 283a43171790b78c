"""Runs the log, what follows it and what is built from it, beside the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import grpc

from services.common.blobs.opening import open_configured_blob_store, s3_connection_of
from services.common.clock import Clock
from services.common.store.database import Database
from services.monitor.adapters.baselines import RegistryBaselines
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.adapters.log.commits import GroupCommitter
from services.monitor.adapters.log.delta_log import DeltaPredictionLog
from services.monitor.adapters.log.intake import ArrowIntake
from services.monitor.core.judging import judge_window, judged_until
from services.monitor.core.ports import MonitorTx
from services.monitor.core.resources import Monitor
from services.monitor.core.slos.following import RequestFollower
from services.monitor.core.stream.batches import Batch
from services.monitor.core.stream.follower import Follower
from services.monitor.core.stream.ports import CompleteWindow
from services.monitor.settings import MonitorSettings

_COMMIT_INTERVAL_S: Final = 0.2
"""How long a batch waits for company. A commit costs 15 ms of CPU and a small file, whatever
its size; senders work ahead, so their throughput does not suffer."""


@dataclass(frozen=True, slots=True)
class Following:
    """What the rest of the monitor needs of the log.

    Attributes:
        log: Of predictions and outcomes.
        intake: Takes batches in.
        follower: Counts them, window by window.
        requests: Counts requests for objectives.
    """

    log: DeltaPredictionLog
    intake: ArrowIntake
    follower: Follower
    requests: RequestFollower


@asynccontextmanager
async def following(
    settings: MonitorSettings, database: Database, registry: grpc.aio.Channel, now: Clock
) -> AsyncIterator[Following]:
    """The log, written and followed until the block ends; what was taken in is then durable.

    Args:
        settings: Where the log lives.
        database: The monitor's, migrated.
        registry: Channel to it.
        now: The clock.
    """
    async with open_configured_blob_store(settings):
        pass  # The probe has shown that two commits of one number can't both succeed.
    predictions = await DeltaPredictionLog.open(
        f"{settings.blob_url}/predictions", _storage_options(settings)
    )

    async def judge(complete: CompleteWindow) -> None:
        await database.write(lambda tx: judge_window(SqlMonitorTx(tx, now()), complete))

    follower = Follower(predictions, RegistryBaselines(registry), judge, predictions.position)
    requests = RequestFollower(predictions, predictions.position)

    def take(batches: Sequence[Batch]) -> None:
        follower.take(batches)
        requests.take(batches)

    committer = GroupCommitter(predictions, take, now, interval_s=_COMMIT_INTERVAL_S)
    await committer.load()
    for monitor, done in await database.read(lambda tx: _monitors(SqlMonitorTx(tx, now()))):
        follower.follow(monitor, done)
    try:
        # A failure of any task cancels the block: the process has to start over.
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(follower.run())
            requesting = group.create_task(requests.run())
            committing = group.create_task(committer.run())
            try:
                yield Following(
                    predictions, ArrowIntake(committer, predictions), follower, requests
                )
            finally:
                for task in (committing, counting, requesting):
                    task.cancel()
                    await asyncio.wait([task])
    finally:
        follower.close()
        predictions.close()


def _monitors(tx: MonitorTx) -> list[tuple[Monitor, datetime | None]]:
    return [(monitor, judged_until(tx, monitor.meta.name)) for monitor in tx.every_monitor()]


def _storage_options(settings: MonitorSettings) -> dict[str, str]:
    connection = s3_connection_of(settings)
    if connection is None:
        return {}
    scheme = "https" if connection.secure else "http"
    return {
        "AWS_ENDPOINT_URL": f"{scheme}://{connection.endpoint}",
        "AWS_ACCESS_KEY_ID": connection.access_key,
        "AWS_SECRET_ACCESS_KEY": connection.secret_key,
        "AWS_REGION": connection.region,
        "AWS_ALLOW_HTTP": str(not connection.secure).lower(),
        # Two writers of one commit must not both succeed.
        "aws_conditional_put": "etag",
    }
