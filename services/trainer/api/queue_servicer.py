"""The QueueService."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.empty_pb2 import Empty
from roundhouse.trainer.v1 import queue_pb2
from roundhouse.trainer.v1 import queue_service_pb2 as pb
from roundhouse.trainer.v1 import queue_service_pb2_grpc as pb_grpc

from services.common.names import PROJECT
from services.common.resources import Meta
from services.common.rpc.convert import from_timestamp, to_timestamp
from services.common.rpc.inputs import check_settable, masked, page_query
from services.trainer.api.transactions import Transactions
from services.trainer.core.freezes import Freeze
from services.trainer.core.ports import TrainerReads, TrainerTx
from services.trainer.core.queues import Amounts, Queue, Standing, queue_name
from services.trainer.core.use_cases import freezing, queues

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_SETTABLE: Final = ("reason", "expire_time")
_NEVER: Final = datetime.fromtimestamp(0, UTC)


class QueueServicer(pb_grpc.QueueServiceServicer):
    """What jobs wait in, and what holds them back.

    Args:
        transactions: Over the trainer's rows.
        machine: All that there is for jobs.
    """

    def __init__(self, transactions: Transactions, machine: Amounts) -> None:
        self._transactions = transactions
        self._machine = machine

    async def CreateQueue(self, request: pb.CreateQueueRequest, _: _Context) -> queue_pb2.Queue:
        """The queue, new."""
        check_settable(request.queue, "queue", queues.CHANGEABLE)
        wanted = _queue_from_proto(request.queue, queue_name(request.parent, request.queue_id))
        return await self._transactions.mutate(
            request,
            queue_pb2.Queue,
            lambda tx, _: self._shown(tx, queues.create_queue(tx, wanted)),
        )

    async def GetQueue(self, request: pb.GetQueueRequest, _: _Context) -> queue_pb2.Queue:
        """One queue."""
        return await self._transactions.read(
            lambda tx, _: self._shown(tx, queues.the_queue(tx, request.name))
        )

    async def ListQueues(self, request: pb.ListQueuesRequest, _: _Context) -> pb.ListQueuesResponse:
        """A page of a project's queues."""
        query = page_query(request, PROJECT)

        def listed(tx: TrainerTx, reads: TrainerReads) -> pb.ListQueuesResponse:
            standings = queues.standings(tx, self._machine)
            page = reads.queues(query)
            return pb.ListQueuesResponse(
                queues=page.map(lambda queue: _queue_to_proto(queue, standings)),
                next_page_token=page.next_page_token,
            )

        return await self._transactions.read(listed)

    async def UpdateQueue(self, request: pb.UpdateQueueRequest, _: _Context) -> queue_pb2.Queue:
        """The queue, changed."""
        picked = masked(request.update_mask.paths, queues.CHANGEABLE)
        wanted, etag = _queue_from_proto(request.queue, request.queue.name), request.queue.etag
        return await self._transactions.mutate(
            request,
            queue_pb2.Queue,
            lambda tx, _: self._shown(tx, queues.update_queue(tx, wanted, picked, etag=etag)),
        )

    async def DeleteQueue(self, request: pb.DeleteQueueRequest, _: _Context) -> Empty:
        """Nothing, once the queue is forgotten."""

        def delete(tx: TrainerTx, _: object) -> Empty:
            queues.delete_queue(tx, request.name, etag=request.etag)
            return Empty()

        return await self._transactions.mutate(request, Empty, delete)

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

    def _shown(self, tx: TrainerTx, queue: Queue) -> queue_pb2.Queue:
        return _queue_to_proto(queue, queues.standings(tx, self._machine))


def _queue_from_proto(queue: queue_pb2.Queue, name: str) -> Queue:
    """The queue as a caller wants it; its identity is for the core to give."""
    return Queue(
        Meta(name, "", 0, _NEVER, _NEVER, dict(queue.labels)),
        weight=queue.weight or 1,
        quota=_amounts(queue.quota),
        owner_quota=_amounts(queue.owner_quota),
        protected=queue.protected,
    )


def _queue_to_proto(queue: Queue, standings: Mapping[str, Standing]) -> queue_pb2.Queue:
    meta, standing = queue.meta, standings.get(queue.meta.name, Standing())
    return queue_pb2.Queue(
        name=meta.name,
        uid=meta.uid,
        etag=meta.etag,
        create_time=None if queue.is_untouched else to_timestamp(meta.create_time),
        update_time=None if queue.is_untouched else to_timestamp(meta.update_time),
        labels=meta.labels,
        weight=queue.weight,
        quota=_quota(queue.quota),
        owner_quota=_quota(queue.owner_quota),
        protected=queue.protected,
        standing=queue_pb2.QueueStanding(
            running=_quota(standing.running),
            waiting_jobs=standing.waiting_jobs,
            recent_share=standing.recent_share,
        ),
    )


def _amounts(quota: queue_pb2.QueueQuota) -> Amounts:
    return Amounts(quota.jobs, quota.threads, quota.memory_mib, quota.gpus)


def _quota(amounts: Amounts) -> queue_pb2.QueueQuota:
    return queue_pb2.QueueQuota(
        jobs=amounts.jobs,
        threads=amounts.threads,
        memory_mib=amounts.memory_mib,
        gpus=amounts.gpus,
    )


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
