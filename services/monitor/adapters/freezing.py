"""Has the trainer freeze a project for as long as an error budget demands it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import grpc
import structlog
from roundhouse.trainer.v1 import queue_service_pb2 as pb
from roundhouse.trainer.v1 import queue_service_pb2_grpc as pb_grpc

from services.common.rpc.convert import to_timestamp
from services.common.rpc.remote import RemoteError, remote_errors
from services.common.store.leases import Lease
from services.monitor.adapters.rounds import Rounds
from services.monitor.core.ports import MonitorTx
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
        rounds: Over the restraints.
        trainer: Channel to it.
    """

    def __init__(self, rounds: Rounds, trainer: grpc.aio.Channel) -> None:
        self._rounds = rounds
        self._queues = pb_grpc.QueueServiceStub(trainer)
        self._now = rounds.now
        self._told: dict[str, tuple[Restraint, datetime]] = {}

    async def run(self, lease: Lease) -> None:
        """Work until cancelled.

        Raises:
            LeaseLost: Another process goes on.
        """
        await self._rounds.keep(_freezing, partial(self._try_to_settle, lease))

    async def _try_to_settle(self, lease: Lease, restraint: Restraint) -> None:
        try:
            await self._settle(lease, restraint)
        except RemoteError as error:
            log.warning("freeze.postponed", slo=restraint.slo, cause=str(error))

    async def _settle(self, lease: Lease, restraint: Restraint) -> None:
        freeze_id = f"budget-{restraint.meta.uid}"
        if not restraint.is_lifted:
            told, when = self._told.get(freeze_id, (None, self._now()))
            if told != restraint or self._now() - when >= _RENEW:
                await self._freeze(freeze_id, restraint)
                self._told[freeze_id] = restraint, self._now()
            return
        await self._thaw(f"{restraint.project}/freezes/{freeze_id}")
        self._told.pop(freeze_id, None)
        await self._rounds.write(lease, partial(forget_lifted, restraint=restraint))

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


def _freezing(tx: MonitorTx) -> Sequence[Restraint]:
    known = tx.every_restraint()
    return [each for each in known if each.rule.action is BudgetAction.FREEZE_TRAINING]
