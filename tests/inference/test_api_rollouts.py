"""Rollouts through the whole service, with a real registry and a monitor that obeys."""

from __future__ import annotations

import asyncio

from roundhouse.inference.v1 import rollout_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb

from tests.support.bundles import tiny_files
from tests.support.calls import refused
from tests.support.fake_monitor import Response
from tests.support.inference_api import (
    ENDPOINT,
    QUICK,
    TIMEOUT_S,
    State,
    request_id,
    state_of,
)


async def test_a_rollout_goes_through_its_phases_to_the_alias(inference, registry, monitor):
    old, new = await registry.approved(), await registry.approved(1.0)
    await inference.create_endpoint(old)
    await inference.create_rollout(new, phases=QUICK)
    running = await state_of(inference, "r", State.STATE_RUNNING)
    assert running.previous_version == old.version
    answered = {(await inference.predict(str(key)))[0] for key in range(40)}
    assert answered == {old.version, new.version}
    monitor.verdict = Response.VERDICT_PASS
    done = await state_of(inference, "r", State.STATE_SUCCEEDED)
    assert [o.verdict for o in done.outcomes] == [rollout_pb2.PhaseOutcome.VERDICT_PASS] * 2
    assert dict(done.outcomes[0].numbers) == {"alpha": 0.05}
    assert await registry.alias() == new.version
    assert {(await inference.predict(str(key)))[0] for key in range(20)} == {new.version}


async def test_while_the_monitor_holds_rollouts_none_begins_a_phase(inference, registry, monitor):
    old, new = await registry.approved(), await registry.approved(1.0)
    await inference.create_endpoint(old)
    monitor.hold, monitor.verdict = "The budget is low.", Response.VERDICT_PASS
    await inference.create_rollout(new, phases=QUICK)
    name = f"{ENDPOINT}/rollouts/r"
    async with asyncio.timeout(TIMEOUT_S):
        held = rollout_pb2.Rollout()
        while held.message != monitor.hold:
            request = rollouts_pb.GetRolloutRequest(name=name)
            held = await inference.rollouts.GetRollout(request, timeout=TIMEOUT_S)
    assert held.state == State.STATE_PREPARING
    assert {(await inference.predict(str(key)))[0] for key in range(20)} == {old.version}
    monitor.hold = ""
    done = await state_of(inference, "r", State.STATE_SUCCEEDED)
    assert done.message == ""
    assert await registry.alias() == new.version


async def test_a_worse_version_is_rolled_back_by_itself(inference, registry, monitor):
    old, new = await registry.approved(), await registry.approved(1.0)
    await inference.create_endpoint(old)
    await inference.create_rollout(new, phases=QUICK)
    await state_of(inference, "r", State.STATE_RUNNING)
    monitor.verdict = Response.VERDICT_FAIL
    await state_of(inference, "r", State.STATE_ROLLED_BACK)
    assert {(await inference.predict(str(key)))[0] for key in range(20)} == {old.version}


async def test_rolling_back_brings_the_old_version_and_its_alias(inference, registry, monitor):
    old, new = await registry.approved(), await registry.approved(1.0)
    await inference.create_endpoint(old)
    await inference.create_rollout(new, phases=QUICK[1:])
    monitor.verdict = Response.VERDICT_PASS
    await state_of(inference, "r", State.STATE_SUCCEEDED)
    undone = await inference.rollouts.RollbackEndpoint(
        rollouts_pb.RollbackEndpointRequest(
            name=ENDPOINT, reason="on call", request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    assert (await inference.predict())[0] == old.version
    assert undone.rollback_of == f"{ENDPOINT}/rollouts/r"
    assert undone.approval == old.approval
    await state_of(inference, undone.name.rpartition("/")[2], State.STATE_SUCCEEDED)
    assert await registry.alias() == old.version


async def test_a_rollout_of_a_broken_version_fails_and_traffic_stays(inference, registry):
    old = await registry.approved()
    broken = await registry.approved(files={**tiny_files(), "model.onnx": b"\x08\x0a"})
    await inference.create_endpoint(old)
    await inference.create_rollout(broken)
    failed = await state_of(inference, "r", State.STATE_FAILED)
    assert "model.onnx" in failed.message
    assert (await inference.predict())[0] == old.version


async def test_pause_resume_advance_and_cancel_do_what_they_say(inference, registry):
    await inference.create_endpoint(await registry.approved())
    await inference.create_rollout(await registry.approved(1.0), phases=QUICK)
    running = await state_of(inference, "r", State.STATE_RUNNING)
    stub, name = inference.rollouts, running.name
    paused = await stub.PauseRollout(
        rollouts_pb.PauseRolloutRequest(name=name, request_id=request_id()), timeout=TIMEOUT_S
    )
    assert paused.state == State.STATE_PAUSED
    with refused() as refusal:
        await stub.AdvanceRollout(
            rollouts_pb.AdvanceRolloutRequest(name=name, request_id=request_id()),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
    await stub.ResumeRollout(
        rollouts_pb.ResumeRolloutRequest(name=name, request_id=request_id()), timeout=TIMEOUT_S
    )
    advanced = await stub.AdvanceRollout(
        rollouts_pb.AdvanceRolloutRequest(name=name, request_id=request_id()), timeout=TIMEOUT_S
    )
    assert advanced.current_phase == 1
    cancelled = await stub.CancelRollout(
        rollouts_pb.CancelRolloutRequest(name=name, reason="no", request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert (cancelled.state, cancelled.message) == (State.STATE_CANCELLED, "no")


async def test_validating_alone_begins_nothing(inference, registry):
    await inference.create_endpoint(await registry.approved())
    new = await registry.approved(1.0)
    request = rollouts_pb.CreateRolloutRequest(
        parent=ENDPOINT,
        rollout_id="r",
        rollout=rollout_pb2.Rollout(version=new.version, approval=new.approval),
        request_id=request_id(),
        validate_only=True,
    )
    checked = await inference.rollouts.CreateRollout(request, timeout=TIMEOUT_S)
    assert len(checked.phases) == 3
    with refused() as refusal:
        await inference.rollout()
    assert refusal.reason == "ROLLOUT_NOT_FOUND"


async def test_a_watch_shows_each_state_and_ends_with_the_rollout(inference, registry, monitor):
    await inference.create_endpoint(await registry.approved())
    await inference.create_rollout(await registry.approved(1.0), phases=QUICK)
    seen = []
    async for rollout in inference.rollouts.WatchRollout(
        rollouts_pb.WatchRolloutRequest(name=f"{ENDPOINT}/rollouts/r"), timeout=TIMEOUT_S
    ):
        seen.append(rollout.state)
        if rollout.state == State.STATE_RUNNING:
            monitor.verdict = Response.VERDICT_PASS
    assert seen[-1] == State.STATE_SUCCEEDED
    assert State.STATE_RUNNING in seen
