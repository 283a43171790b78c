"""Queues of a real trainer: kept, waited in, and left for a job of higher priority."""

from __future__ import annotations

import grpc
import pytest
from roundhouse.trainer.v1 import job_pb2
from roundhouse.trainer.v1 import queue_pb2 as queue
from roundhouse.trainer.v1 import queue_service_pb2 as pb

from services.trainer.core.spec import Candidate
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, state_name

pytestmark = pytest.mark.real
BULK = f"{PROJECT}/queues/bulk"


async def create(caller: TrainerCaller, **said: object) -> queue.Queue:
    request = pb.CreateQueueRequest(
        parent=PROJECT, queue_id="bulk", queue=queue.Queue(**said), request_id=request_id()
    )
    made = await caller.queues.CreateQueue(request, timeout=TIMEOUT_S)
    assert await caller.queues.CreateQueue(request, timeout=TIMEOUT_S) == made
    return made


async def submit(caller: TrainerCaller, job_id: str, epochs: int, priority: int) -> str:
    request = caller.request(job_id, candidates=(Candidate("mlp", {"epochs": epochs}),))
    request.training_job.queue = BULK
    request.training_job.priority = priority
    return (await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)).name


async def test_a_job_leaves_its_queue_s_only_place_to_one_of_higher_priority_and_goes_on(
    caller: TrainerCaller,
) -> None:
    await create(caller, quota=queue.QueueQuota(jobs=1))
    slow = await submit(caller, "slow", 400, 0)
    await caller.until_points(slow, 5)
    urgent = await submit(caller, "urgent", 2, 9)
    assert state_name(await caller.until_over(urgent)) == "SUCCEEDED"
    over = await caller.until_over(slow)
    assert (state_name(over), over.queue) == ("SUCCEEDED", BULK)
    # More than one where the urgent job's worker falls silent: it takes the place anew.
    *preempted, last = over.attempts
    assert {each.state for each in preempted} == {job_pb2.Attempt.STATE_STOPPED}
    assert {each.error.error_class for each in preempted} == {
        job_pb2.JobError.ERROR_CLASS_PREEMPTED
    }
    steps = [
        step for trial, _, step, _ in await caller.points(slow, "train_loss") if "mlp" in trial
    ]
    assert steps == sorted(set(steps))
    found = await caller.queues.GetQueue(pb.GetQueueRequest(name=BULK), timeout=TIMEOUT_S)
    assert found.standing.recent_share > 0
    assert (found.standing.running.jobs, found.standing.waiting_jobs) == (0, 0)
    assert last.state == job_pb2.Attempt.STATE_SUCCEEDED


async def test_queues_are_kept_by_their_etags_and_pages(caller: TrainerCaller) -> None:
    made = await create(caller, weight=2)
    changed = await caller.queues.UpdateQueue(
        pb.UpdateQueueRequest(
            queue=queue.Queue(name=BULK, weight=5, etag=made.etag), request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    assert (changed.weight, changed.uid) == (5, made.uid)
    with refused() as refusal:
        await caller.queues.DeleteQueue(
            pb.DeleteQueueRequest(name=BULK, etag=made.etag, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    first = await caller.queues.ListQueues(
        pb.ListQueuesRequest(parent=PROJECT, page_size=1), timeout=TIMEOUT_S
    )
    rest = await caller.queues.ListQueues(
        pb.ListQueuesRequest(parent=PROJECT, page_size=1, page_token=first.next_page_token),
        timeout=TIMEOUT_S,
    )
    assert [each.name for each in (*first.queues, *rest.queues)] == [
        BULK,
        f"{PROJECT}/queues/default",
    ]
    assert not rest.next_page_token
    assert not rest.queues[0].HasField("create_time")
    await caller.queues.DeleteQueue(
        pb.DeleteQueueRequest(name=BULK, etag=changed.etag, request_id=request_id()),
        timeout=TIMEOUT_S,
    )


@pytest.mark.parametrize(
    ("named", "code", "reason"),
    [
        (BULK, grpc.StatusCode.NOT_FOUND, "QUEUE_NOT_FOUND"),
        ("projects/other/queues/bulk", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_job_of_no_queue_of_its_project_is_refused(
    caller: TrainerCaller, named: str, code: grpc.StatusCode, reason: str
) -> None:
    request = caller.request("lost", "decision_tree")
    request.training_job.queue = named
    with refused() as refusal:
        await caller.jobs.CreateTrainingJob(request, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (code, reason)
