"""Drills: a roll-back that is done for real, measured, and undone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from roundhouse.inference.v1 import drill_pb2, rollout_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb

from services.common.criteria import Verdict
from services.common.resources import Meta
from services.inference.core.drilling import rollout_meta
from services.inference.core.drills import AnswerWatch, DrillState, Measures
from services.inference.core.errors import DrillRunning, NothingToRollBackTo
from services.inference.core.use_cases import drills as cases
from services.inference.core.use_cases.rollouts import rollback_endpoint
from tests.support.calls import refused
from tests.support.fake_monitor import Response, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    registry_with_models,
    request_id,
    running_inference,
)
from tests.support.rollout_world import ALIAS, World, promoted
from tests.support.serving import version_name

DRILL = f"{ENDPOINT}/drills/d"
STATE = drill_pb2.RollbackDrill
MEASURES = Measures(0.01, 10, 12, 0, 0.001, 0.002, 0.001, 0.003)


@pytest.fixture
async def drilled() -> World:
    """An endpoint with a version to go back to, and a drill that has begun."""
    world = World()
    await promoted(world)
    begin(world)
    return world


def begin(world: World, name: str = DRILL):
    now = world.peers.now
    meta = Meta(name, name[-8:], 1, now, now)
    return cases.create_drill(world.tx, meta, ENDPOINT, now + timedelta(seconds=30))


def switch(world: World) -> None:
    cases.switch(world.tx, DRILL, rollout_meta(DRILL, "back", world.peers.now))


def end(world: World):
    meta = rollout_meta(DRILL, "forth", world.peers.now)
    return cases.end(world.tx, DRILL, meta, DrillState.SUCCEEDED, "", MEASURES)


async def test_a_drill_rolls_back_and_leaves_all_as_it_was(drilled):
    before = drilled.weights()
    switch(drilled)
    assert drilled.weights() == {"2": 0, "1": 10_000}
    await drilled.turn()
    assert drilled.peers.aliases[ALIAS] == version_name(1)
    done = end(drilled)
    assert (done.state, done.measures) == (DrillState.SUCCEEDED, MEASURES)
    assert (done.champion, done.stand_in) == (version_name(2), version_name(1))
    assert drilled.weights() == before
    await drilled.turn()
    assert drilled.peers.aliases[ALIAS] == version_name(2)
    back, forth = (
        drilled.rollout(each.rpartition("/")[2]) for each in (done.rollback, done.restoring)
    )
    assert forth.rollback_of == done.rollback
    assert (back.approval, forth.approval) == tuple(
        f"{version_name(number)}/approvals/a" for number in (1, 2)
    )
    begin(drilled, f"{ENDPOINT}/drills/e")


async def test_the_champion_comes_back_before_the_alias_has_followed_the_stand_in(drilled):
    switch(drilled)
    assert end(drilled).state is DrillState.SUCCEEDED
    assert drilled.weights() == {"1": 0, "2": 10_000}
    await drilled.turn(2)
    assert drilled.peers.aliases[ALIAS] == version_name(2)


@pytest.mark.parametrize("has_switched", [True, False])
async def test_an_interrupted_drill_is_ended_by_the_controller(drilled, has_switched):
    if has_switched:
        switch(drilled)
    await drilled.turn(2)
    assert cases.get_drill(drilled.tx, DRILL).state is DrillState.RUNNING
    drilled.peers.pass_time(seconds=31)
    await drilled.turn(2)
    ended = cases.get_drill(drilled.tx, DRILL)
    assert (ended.state, ended.message) == (DrillState.FAILED, "it was interrupted")
    assert drilled.weights() == {"1": 0, "2": 10_000}
    # Who performed it comes too late, and changes nothing.
    assert end(drilled) == ended


async def test_what_somebody_did_meanwhile_is_left(drilled):
    switch(drilled)
    await drilled.turn()
    now = drilled.peers.now
    rollback_endpoint(
        drilled.tx, Meta(f"{ENDPOINT}/rollouts/x", "x" * 8, 1, now, now), ENDPOINT, ""
    )
    ended = end(drilled)
    assert ended.state is DrillState.FAILED
    assert "meanwhile" in ended.message
    assert drilled.weights() == {"2": 10_000}


async def test_one_drill_at_a_time_and_none_without_a_version_to_go_back_to(drilled):
    with pytest.raises(DrillRunning):
        begin(drilled, f"{ENDPOINT}/drills/e")
    fresh = World()
    fresh.peers.verdict = Verdict.PASS
    with pytest.raises(NothingToRollBackTo):
        begin(fresh)


def test_a_watch_tells_before_from_after_and_failures_from_answers():
    now = iter([1.0, 2.0, 3.0, 3.25, 4.0])
    watch = AnswerWatch(ENDPOINT, lambda: next(now))
    watch.note("v2", 0.001, failed=True)
    watch.command()
    watch.note("v1", 0.001, failed=False)
    watch.note("v2", 0.1, failed=False)
    watch.note("v1", 0.001, failed=True)
    seen = watch.measures("v2")
    assert (seen.answers_before, seen.answers_after, seen.failed) == (1, 3, 1)
    assert seen.last_answer_s == 1.25
    assert seen.before_p99_s < 0.01 < seen.after_p99_s


async def test_a_drill_on_a_live_endpoint_is_measured_and_kept(tmp_path):
    async with (
        registry_with_models(tmp_path / "registry") as registry,
        fake_monitor() as monitor,
        running_inference(tmp_path / "i", registry.address, monitor.address) as inference,
    ):
        old, new = await registry.approved(), await registry.approved(1.0)
        await inference.create_endpoint(old)
        with refused() as refusal:
            await begun(inference)
        assert refusal.reason == "NO_ROLLBACK_TARGET"
        monitor.verdict = Response.VERDICT_PASS
        whole = rollout_pb2.Phase(weight_basis_points=10_000)
        await inference.create_rollout(new, phases=[whole])
        async with asyncio.timeout(TIMEOUT_S):
            while (await inference.rollout()).state != rollout_pb2.Rollout.STATE_SUCCEEDED:
                await asyncio.sleep(0.05)
        drill, answered = await begun(inference), set()
        async with asyncio.timeout(TIMEOUT_S):
            while drill.state == STATE.STATE_RUNNING:
                answered.add((await inference.predict())[0])
                drill = await inference.rollouts.GetRollbackDrill(
                    rollouts_pb.GetRollbackDrillRequest(name=drill.name), timeout=TIMEOUT_S
                )
        assert drill.state == STATE.STATE_SUCCEEDED, drill.message
        assert answered == {old.version, new.version}
        assert (drill.champion, drill.stand_in) == (new.version, old.version)
        assert drill.measures.failed == 0
        assert drill.measures.answers_before > 0
        assert drill.measures.answers_after > 0
        async with asyncio.timeout(TIMEOUT_S):
            while (await inference.predict())[0] != new.version:
                await asyncio.sleep(0.05)
        listed = await inference.rollouts.ListRollbackDrills(
            rollouts_pb.ListRollbackDrillsRequest(parent=ENDPOINT), timeout=TIMEOUT_S
        )
        assert list(listed.drills) == [drill]
        with refused() as refusal:
            await inference.rollouts.GetRollbackDrill(
                rollouts_pb.GetRollbackDrillRequest(name=DRILL), timeout=TIMEOUT_S
            )
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "DRILL_NOT_FOUND")


async def begun(inference) -> drill_pb2.RollbackDrill:
    return await inference.rollouts.DrillRollback(
        rollouts_pb.DrillRollbackRequest(
            name=ENDPOINT, window=Duration(seconds=1), request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
