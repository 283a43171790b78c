"""A frozen project on real worker processes: what waits is held, what is critical goes on."""

from __future__ import annotations

import grpc
import pytest
from roundhouse.trainer.v1 import queue_service_pb2 as pb

from services.common.clock import utc_now
from services.common.rpc.convert import to_timestamp
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.trainer_api import TrainerCaller, state_name

pytestmark = pytest.mark.real
NAME = f"{PROJECT}/freezes/budget"


async def freeze(caller: TrainerCaller, reason: str = "The budget is spent.") -> pb.Freeze:
    request = pb.CreateFreezeRequest(
        parent=PROJECT,
        freeze_id="budget",
        freeze=pb.Freeze(reason=reason),
        request_id=request_id(),
    )
    made = await caller.queues.CreateFreeze(request, timeout=TIMEOUT_S)
    assert await caller.queues.CreateFreeze(request, timeout=TIMEOUT_S) == made
    return made


async def test_a_frozen_project_holds_its_jobs_but_critical_ones_until_it_thaws(
    caller: TrainerCaller,
) -> None:
    made = await freeze(caller)
    held = await caller.submit("held", "decision_tree")
    job = caller.request("urgent", "decision_tree")
    job.training_job.critical = True
    urgent = (await caller.jobs.CreateTrainingJob(job, timeout=TIMEOUT_S)).name
    over = await caller.until_over(urgent)
    assert (state_name(over), over.critical, over.frozen_by) == ("SUCCEEDED", True, "")
    waiting = await caller.get(held)
    assert (state_name(waiting), waiting.frozen_by) == ("QUEUED", NAME)
    assert not waiting.attempts

    anew = await freeze(caller, "Still spent.")
    assert (anew.uid, anew.reason) == (made.uid, "Still spent.")
    listed = await caller.queues.ListFreezes(
        pb.ListFreezesRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    assert list(listed.freezes) == [anew]
    request = pb.GetFreezeRequest(name=NAME)
    assert await caller.queues.GetFreeze(request, timeout=TIMEOUT_S) == anew
    await caller.queues.DeleteFreeze(
        pb.DeleteFreezeRequest(name=NAME, etag=anew.etag, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert state_name(await caller.until_over(held)) == "SUCCEEDED"


async def test_what_is_no_freeze_is_refused(caller: TrainerCaller) -> None:
    past = pb.Freeze(reason="Too late.", expire_time=to_timestamp(utc_now()))
    with refused() as refusal:
        await caller.queues.CreateFreeze(
            pb.CreateFreezeRequest(
                parent=PROJECT, freeze_id="past", freeze=past, request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    assert refusal.fields() == ["freeze.expire_time"]
    with refused() as refusal:
        await caller.queues.GetFreeze(pb.GetFreezeRequest(name=NAME), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "FREEZE_NOT_FOUND")
