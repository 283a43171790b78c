"""Has the trainer freeze a project for as long as an error budget demands it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime, timedelta
from typing import Final

import grpc
import structlog
from roundhouse.trainer.v1 import queue_service_pb2 as pb
from roundhouse.trainer.v1 import queue_service_pb2_grpc as pb_grpc
from sqlalchemy import Connection

from services.common.clock import Clock
from services.common.rpc.convert import to_timestamp
from services.common.rpc.remote import RemoteError, remote_errors
from services.common.store import leases
from services.common.store.database import Database
from services.common.store.leases import Lease
from services.monitor.adapters.database.transaction import SqlMonitorTx
from services.monitor.core.slos.objectives import BudgetAction
from services.monitor.core.slos.restraints import Restraint
from services.monitor.core.use_cases.restraints import forget_lifted

log = structlog.get_logger()

LASTS: Final = timedelta(hours=1)
"""How long a freeze outlasts a monitor that says nothing: nobody else would lift it."""

_RENEW: Final = LASTS / 4
_PEER: Final = "trainer"
_TIMEOUT_S: Final = 10.0


class TrainingFreezer:
    """Keeps the trainer's freezes as the restraints say; one process at a time.

    What is lifted stays in the database until the trainer knows, so a crash loses nothing.

    Args:
        database: The monitor's.
        trainer: Channel to it.
        interval_s: How long it rests between two looks.
        now: The clock.
    """

    def __init__(
        self, database: Database, trainer: grpc.aio.Channel, interval_s: float, now: Clock
    ) -> None:
        self._database = database
        self._queues = pb_grpc.QueueServiceStub(trainer)
        self._interval_s = interval_s
        self._now = now
        self._told: dict[str, tuple[Restraint, datetime]] = {}

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        while True:
            for restraint in await self._database.read(self._freezing):
                try:
                    await self._settle(restraint, lease)
                except RemoteError as error:
                    log.warning("freeze.postponed", slo=restraint.slo, cause=str(error))
            await asyncio.sleep(self._interval_s)

    def _freezing(self, connection: Connection) -> list[Restraint]:
        known = SqlMonitorTx(connection, self._now()).every_restraint()
        return [each for each in known if each.rule.action is BudgetAction.FREEZE_TRAINING]

    async def _settle(self, restraint: Restraint, lease: Lease) -> None:
        freeze_id = f"budget-{restraint.meta.uid}"
        if not restraint.is_lifted:
            told, when = self._told.get(freeze_id, (None, self._now()))
            if told != restraint or self._now() - when >= _RENEW:
                await self._freeze(freeze_id, restraint)
                self._told[freeze_id] = restraint, self._now()
            return
        await self._thaw(f"{restraint.project}/freezes/{freeze_id}")
        self._told.pop(freeze_id, None)

        def forget(connection: Connection) -> None:
            leases.guard(connection, lease)
            forget_lifted(SqlMonitorTx(connection, self._now()), restraint)

        await self._database.write(forget)

    async def _freeze(self, freeze_id: str, restraint: Restraint) -> None:
        request = pb.CreateFreezeRequest(
            parent=restraint.project,
            freeze_id=freeze_id,
            freeze=pb.Freeze(
                reason=restraint.reason, expire_time=to_timestamp(self._now() + LASTS)
            ),
            request_id=str(uuid.uuid4()),
        )
        with remote_errors(_PEER):
            await self._queues.CreateFreeze(request, timeout=_TIMEOUT_S)

    async def _thaw(self, name: str) -> None:
        request = pb.DeleteFreezeRequest(name=name, request_id=str(uuid.uuid4()))
        try:
            with remote_errors(_PEER):
                await self._queues.DeleteFreeze(request, timeout=_TIMEOUT_S)
        except RemoteError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
