"""Making, changing and ending queues, and putting jobs into them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

from services.common.errors import FieldViolation, InvalidRequest
from services.common.names import parent_of
from services.common.resources import Meta
from services.trainer.core.errors import QueueExists, QueueInUse, QueueNotFound, QueueTooSmall
from services.trainer.core.ports import TrainerTx
from services.trainer.core.queues import (
    DEFAULT_QUEUE,
    QUEUE,
    Amounts,
    Queue,
    Standing,
    default_queue,
    needed,
    queue_name,
)
from services.trainer.core.spec import JobSpec
from services.trainer.core.states import JobState

CHANGEABLE = ("labels", "weight", "quota", "owner_quota", "protected")


def the_queue(tx: TrainerTx, name: str) -> Queue:
    """The queue called `name`; each project has its default one.

    Raises:
        InvalidName: It is the name of something else.
        QueueNotFound: There is none.
    """
    QUEUE.parse(name, field="name")
    return _found(tx, name)


def create_queue(tx: TrainerTx, wanted: Queue) -> Queue:
    """A new queue with what `wanted` says but for its identity.

    Raises:
        QueueExists: The name is taken.
    """
    name = wanted.meta.name
    if _is_default(name) or tx.queues.get(name) is not None:
        raise QueueExists(name)
    meta = Meta(name, tx.new_uid(), 1, tx.now, tx.now, wanted.meta.labels)
    queue = replace(wanted, meta=meta)
    tx.queues.add(queue)
    tx.tell("queue.created", name, {"weight": queue.weight})
    return queue


def update_queue(tx: TrainerTx, wanted: Queue, picked: Collection[str], *, etag: str) -> Queue:
    """The queue with the fields in `picked` as in `wanted`; what runs in it goes on.

    Raises:
        QueueNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
    """
    stored = the_queue(tx, wanted.meta.name)
    stored.meta.check_etag(etag)
    meta = stored.meta.touched(tx.now)
    if stored.is_untouched:
        meta = replace(meta, create_time=tx.now)
    if "labels" in picked:
        meta = replace(meta, labels=wanted.meta.labels)
    changed = {name: getattr(wanted, name) for name in picked if name != "labels"}
    queue = replace(stored, meta=meta, **changed)
    if stored.is_untouched:
        tx.queues.add(queue)
    else:
        tx.queues.replace(queue)
    tx.tell("queue.updated", queue.meta.name, {"weight": queue.weight})
    return queue


def delete_queue(tx: TrainerTx, name: str, *, etag: str) -> None:
    """Forget a queue and what it has taken.

    Raises:
        InvalidRequest: It is the default queue.
        QueueNotFound: There is none.
        EtagMismatch: It has changed since the caller read it.
        QueueInUse: Jobs in it are not over.
    """
    queue = the_queue(tx, name)
    if _is_default(name):
        raise InvalidRequest(
            [FieldViolation("name", "is the default queue, which every project has")]
        )
    queue.meta.check_etag(etag)
    jobs = sum(job.queue_name == name for job in tx.unfinished_jobs())
    if jobs:
        raise QueueInUse(name, jobs)
    tx.queues.remove(name)
    tx.forget_usage(name)
    tx.tell("queue.deleted", name, {})


def check_fits(tx: TrainerTx, name: str, spec: JobSpec, machine: Amounts) -> None:
    """Pass if a job of `spec` could ever run in the queue called `name`.

    Raises:
        QueueNotFound: There is no such queue.
        QueueTooSmall: A quota of the queue is below what the job takes.
    """
    queue, asked = _found(tx, name), needed(spec, machine)
    for quota in (queue.quota, queue.owner_quota):
        if not asked.within(quota):
            raise QueueTooSmall(name, str(asked), str(quota))


def standings(tx: TrainerTx, machine: Amounts) -> Mapping[str, Standing]:
    """How each queue stands that has jobs or a past, by its name; the others stand empty."""
    found: defaultdict[str, Standing] = defaultdict(Standing)
    for (queue, _), usage in tx.usages().items():
        share = found[queue].recent_share + usage.recent_share(tx.now)
        found[queue] = replace(found[queue], recent_share=share)
    for job in tx.unfinished_jobs():
        standing = found[job.queue_name]
        if job.state.active:
            found[job.queue_name] = standing.with_running(needed(job.spec, machine))
        elif job.state is JobState.QUEUED:
            found[job.queue_name] = standing.with_waiting()
    return found


def _found(tx: TrainerTx, name: str) -> Queue:
    stored = tx.queues.get(name)
    if stored is None and not _is_default(name):
        raise QueueNotFound(name)
    return stored or default_queue(parent_of(name))


def _is_default(name: str) -> bool:
    return name == queue_name(parent_of(name), DEFAULT_QUEUE)
