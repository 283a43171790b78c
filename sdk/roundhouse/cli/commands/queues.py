"""`roundhouse queues`: the lines that jobs wait in."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.cli import names
from roundhouse.cli.output import OUT, as_dict, print_json, print_table
from roundhouse.cli.paging import every
from roundhouse.cli.session import Json, session_of
from roundhouse.trainer.v1.queue_pb2 import Queue, QueueQuota
from roundhouse.trainer.v1.queue_service_pb2 import (
    CreateQueueRequest,
    DeleteQueueRequest,
    GetQueueRequest,
    ListQueuesRequest,
    UpdateQueueRequest,
)

app = typer.Typer(help="Keep the queues that jobs wait in.", no_args_is_help=True)

QueueName = Annotated[str, typer.Argument(help="Queue's id or resource name.")]
Weight = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Its share beside that of other queues.")
]
Jobs = Annotated[int | None, typer.Option(min=0, help="Jobs that run at a time; 0: any.")]
Threads = Annotated[int | None, typer.Option(min=0, help="Threads of all of them; 0: any.")]
Memory = Annotated[int | None, typer.Option(min=0, help="MiB of all of them; 0: any.")]
Gpus = Annotated[int | None, typer.Option(min=0, help="GPUs of all of them; 0: any.")]
OwnerJobs = Annotated[int | None, typer.Option(min=0, help="Jobs of one owner; 0: any.")]
OwnerThreads = Annotated[int | None, typer.Option(min=0, help="Threads of one owner; 0: any.")]
OwnerMemory = Annotated[int | None, typer.Option(min=0, help="MiB of one owner; 0: any.")]
OwnerGpus = Annotated[int | None, typer.Option(min=0, help="GPUs of one owner; 0: any.")]
Protected = Annotated[
    bool | None,
    typer.Option("--protected/--preemptible", help="Whether its jobs never make room for others."),
]


@app.command()
def create(
    context: typer.Context,
    queue_id: Annotated[str, typer.Argument(help="Id of the new queue.")],
    weight: Weight = None,
    jobs: Jobs = None,
    threads: Threads = None,
    memory_mib: Memory = None,
    gpus: Gpus = None,
    owner_jobs: OwnerJobs = None,
    owner_threads: OwnerThreads = None,
    owner_memory_mib: OwnerMemory = None,
    owner_gpus: OwnerGpus = None,
    protected: Protected = None,
    as_json: Json = False,
) -> None:
    """Make a queue."""
    session = session_of(context)
    wanted = Queue(weight=weight or 0, protected=protected or False)
    _set(wanted.quota, jobs, threads, memory_mib, gpus)
    _set(wanted.owner_quota, owner_jobs, owner_threads, owner_memory_mib, owner_gpus)
    request = CreateQueueRequest(
        parent=names.parent(session.project), queue_id=queue_id, queue=wanted
    )
    with session.client() as client:
        made = client.queues.CreateQueue(request)
    _print_one(made, "Made", as_json)


@app.command()
def update(
    context: typer.Context,
    queue: QueueName,
    weight: Weight = None,
    jobs: Jobs = None,
    threads: Threads = None,
    memory_mib: Memory = None,
    gpus: Gpus = None,
    owner_jobs: OwnerJobs = None,
    owner_threads: OwnerThreads = None,
    owner_memory_mib: OwnerMemory = None,
    owner_gpus: OwnerGpus = None,
    protected: Protected = None,
    as_json: Json = False,
) -> None:
    """Change what is named of a queue; what runs in it goes on."""
    session = session_of(context)
    name = names.full(session.project, "queues", queue)
    with session.client() as client:
        wanted = client.queues.GetQueue(GetQueueRequest(name=name))
        _set(wanted.quota, jobs, threads, memory_mib, gpus)
        _set(wanted.owner_quota, owner_jobs, owner_threads, owner_memory_mib, owner_gpus)
        if weight is not None:
            wanted.weight = weight
        if protected is not None:
            wanted.protected = protected
        # The etag that was read guards what is left as it is.
        mask = FieldMask(paths=["weight", "quota", "owner_quota", "protected"])
        changed = client.queues.UpdateQueue(UpdateQueueRequest(queue=wanted, update_mask=mask))
    _print_one(changed, "Changed", as_json)


@app.command("list")
def list_queues(context: typer.Context, as_json: Json = False) -> None:
    """List the project's queues, and how each stands."""
    session = session_of(context)
    request = ListQueuesRequest(parent=names.parent(session.project))
    with session.client() as client:
        found = list(every(client.queues.ListQueues, request, "queues"))
    if as_json:
        print_json([as_dict(queue) for queue in found])
        return
    print_table(
        (
            "queue",
            "weight",
            "recent share",
            "running",
            "waiting",
            "quota",
            "per owner",
            "protected",
        ),
        [
            (
                names.last(queue.name),
                queue.weight,
                f"{queue.standing.recent_share:.0%}",
                queue.standing.running.jobs,
                queue.standing.waiting_jobs,
                _quota(queue.quota),
                _quota(queue.owner_quota),
                "yes" if queue.protected else "",
            )
            for queue in found
        ],
        title=f"Queues of {session.project}",
    )


@app.command()
def show(context: typer.Context, queue: QueueName, as_json: Json = False) -> None:
    """Show one queue."""
    session = session_of(context)
    name = names.full(session.project, "queues", queue)
    with session.client() as client:
        found = client.queues.GetQueue(GetQueueRequest(name=name))
    _print_one(found, "", as_json)


@app.command()
def delete(context: typer.Context, queue: QueueName) -> None:
    """Forget a queue whose jobs are over."""
    session = session_of(context)
    name = names.full(session.project, "queues", queue)
    with session.client() as client:
        client.queues.DeleteQueue(DeleteQueueRequest(name=name))
    OUT.print(f"Forgot {names.last(name)}.")


def _set(
    quota: QueueQuota,
    jobs: int | None,
    threads: int | None,
    memory_mib: int | None,
    gpus: int | None,
) -> None:
    """Change what is given of `quota`."""
    if jobs is not None:
        quota.jobs = jobs
    if threads is not None:
        quota.threads = threads
    if memory_mib is not None:
        quota.memory_mib = memory_mib
    if gpus is not None:
        quota.gpus = gpus


def _print_one(queue: Queue, done: str, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(queue))
        return
    protection = ", protected" if queue.protected else ""
    OUT.print(
        f"{done} {names.last(queue.name)}: weight {queue.weight}, at most {_quota(queue.quota)}, "
        f"of one owner {_quota(queue.owner_quota)}{protection}; "
        f"{queue.standing.running.jobs} run, {queue.standing.waiting_jobs} wait".strip(),
        highlight=False,
    )


def _quota(quota: QueueQuota) -> str:
    limits = (
        (quota.jobs, "jobs"),
        (quota.threads, "threads"),
        (quota.memory_mib, "MiB"),
        (quota.gpus, "GPUs"),
    )
    return ", ".join(f"{limit} {unit}" for limit, unit in limits if limit) or "anything"
