"""The QueueService."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.trainer.v1 import queue_service_pb2 as pb
from roundhouse.trainer.v1 import queue_service_pb2_grpc as pb_grpc

from services.common.names import PROJECT
from services.common.rpc.convert import from_timestamp, to_timestamp
from services.common.rpc.inputs import check_settable, page_query
from services.trainer.api.transactions import Transactions
from services.trainer.core.freezes import Freeze
from services.trainer.core.ports import TrainerTx
from services.trainer.core.use_cases import freezing

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_SETTABLE: Final = ("reason", "expire_time")


class QueueServicer(pb_grpc.QueueServiceServicer):
    """What holds jobs back that wait.

    Args:
        transactions: Over the trainer's rows.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def CreateFreeze(self, request: pb.CreateFreezeRequest, _: _Context) -> pb.Freeze:
        """The freeze, in force from now on."""
        given = request.freeze
        check_settable(given, "freeze", _SETTABLE)
        name = f"{request.parent}/freezes/{request.freeze_id}"
        expire_time = from_timestamp(given.expire_time) if given.HasField("expire_time") else None
        return await self._transactions.mutate(
            request,
            pb.Freeze,
            lambda tx, _: _to_proto(
                freezing.set_freeze(tx, name, reason=given.reason, expire_time=expire_time)
            ),
        )

    async def GetFreeze(self, request: pb.GetFreezeRequest, _: _Context) -> pb.Freeze:
        """One freeze."""
        return await self._transactions.read(
            lambda tx, _: _to_proto(freezing.the_freeze(tx, request.name))
        )

    async def ListFreezes(
        self, request: pb.ListFreezesRequest, _: _Context
    ) -> pb.ListFreezesResponse:
        """A page of a project's freezes."""
        query = page_query(request, PROJECT)
        page = await self._transactions.read(lambda _, reads: reads.freezes(query))
        return pb.ListFreezesResponse(
            freezes=page.map(_to_proto), next_page_token=page.next_page_token
        )

    async def DeleteFreeze(self, request: pb.DeleteFreezeRequest, _: _Context) -> Empty:
        """Nothing, once the freeze is over."""

        def delete(tx: TrainerTx, _: object) -> Empty:
            freezing.delete_freeze(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)


def _to_proto(freeze: Freeze) -> pb.Freeze:
    meta, until = freeze.meta, freeze.expire_time
    return pb.Freeze(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=to_timestamp(meta.create_time),
        update_time=to_timestamp(meta.update_time),
        reason=freeze.reason,
        expire_time=None if until is None else to_timestamp(until),
    )
