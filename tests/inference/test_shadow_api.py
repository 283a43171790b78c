"""Shadow and dark phases through the whole service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from roundhouse.inference.v1 import rollout_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb

from tests.support.calls import refused
from tests.support.fake_monitor import Response, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    registry_with_models,
    request_id,
    running_inference,
)

STATE = rollout_pb2.Rollout
KIND = rollout_pb2.Phase
ALL = KIND(weight_basis_points=10_000)
DARK = KIND(kind=KIND.KIND_DARK, max_duration=Duration(seconds=3600))


def shadow(**plan: Any) -> rollout_pb2.Phase:
    given = {"sample_basis_points": 10_000, "min_requests": 30, **plan}
    return KIND(kind=KIND.KIND_SHADOW, shadow=rollout_pb2.ShadowPlan(**given))


@pytest.fixture
async def registry(tmp_path):
    async with registry_with_models(tmp_path / "registry") as running:
        yield running


@pytest.fixture
async def monitor():
    async with fake_monitor() as running:
        yield running


@pytest.fixture
async def inference(tmp_path, registry, monitor):
    async with running_inference(
        tmp_path / "inference", registry.address, monitor.address
    ) as caller:
        yield caller


async def running(inference) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while (await inference.rollout()).state != STATE.STATE_RUNNING:
            await asyncio.sleep(0.05)


async def predicted_until(inference, *states: int) -> tuple[rollout_pb2.Rollout, set[str]]:
    """The rollout once it is in one of the states, and who answered meanwhile."""
    answered, number = set(), 0
    async with asyncio.timeout(2 * TIMEOUT_S):
        while True:
            for _ in range(10):
                number += 1
                answered.add((await inference.predict(prediction_id=f"p{number}"))[0])
            rollout = await inference.rollout()
            if rollout.state in states:
                return rollout, answered


async def report(inference, name: str = f"{ENDPOINT}/rollouts/r/shadows/0"):
    return await inference.rollouts.GetShadowReport(
        rollouts_pb.GetShadowReportRequest(name=name), timeout=TIMEOUT_S
    )


async def test_a_version_that_decides_otherwise_is_seen_by_the_report_and_by_nobody_else(
    inference, registry, monitor
):
    old, new = await registry.approved(), await registry.approved(-5.0)
    await inference.create_endpoint(old)
    await inference.create_rollout(new, phases=[shadow(min_agreement=0.9), ALL])
    await running(inference)
    ended, answered = await predicted_until(inference, STATE.STATE_ROLLED_BACK)
    assert answered == {old.version}
    assert ended.outcomes[0].verdict == rollout_pb2.PhaseOutcome.VERDICT_FAIL
    found = await report(inference)
    assert (found.version, found.champion) == (new.version, old.version)
    assert found.compared_requests >= 30
    assert found.agreement.high < 0.9
    assert found.score_shift.high < 0.0
    assert found.score_distribution_distance == pytest.approx(1.0)
    assert sum(found.candidate_score_counts) == found.compared_rows
    assert found.candidate_latency.p50.ToTimedelta() <= found.candidate_latency.p99.ToTimedelta()
    served = {
        (endpoint, variant)
        for table in monitor.batches.values()
        for endpoint, variant in zip(
            table["endpoint"].to_pylist(), table["variant"].to_pylist(), strict=True
        )
    }
    assert (ENDPOINT, new.version) not in served
    assert served <= {(ENDPOINT, old.version), (f"{ENDPOINT}/shadow", new.version)}


async def test_a_version_that_agrees_goes_on_to_its_share(inference, registry, monitor):
    old, new = await registry.approved(), await registry.approved(0.01)
    await inference.create_endpoint(old)
    await inference.create_rollout(new, phases=[shadow(min_agreement=0.5), ALL])
    monitor.verdict = Response.VERDICT_PASS
    ended, _ = await predicted_until(inference, STATE.STATE_SUCCEEDED)
    assert ended.outcomes[0].numbers["agreement"] == 1.0
    assert ended.phases[0].shadow == shadow(min_agreement=0.5).shadow
    # What was compared outlives the phase.
    assert (await report(inference)).agreement.value == 1.0


async def test_a_dark_version_answers_those_who_pin_it_and_takes_all_at_once(
    inference, registry, monitor
):
    old, new = await registry.approved(), await registry.approved(1.0)
    await inference.create_endpoint(old)
    await inference.create_rollout(new, phases=[DARK, ALL])
    await running(inference)
    assert {(await inference.predict(str(key)))[0] for key in range(20)} == {old.version}
    number = new.version.rpartition("/")[2]
    assert (await inference.predict(version=number))[0] == new.version
    await inference.rollouts.AdvanceRollout(
        rollouts_pb.AdvanceRolloutRequest(name=f"{ENDPOINT}/rollouts/r", request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert {(await inference.predict(str(key)))[0] for key in range(20)} == {new.version}
    held = {v.version: v.weight_basis_points for v in (await inference.endpoint()).variants}
    assert held == {old.version: 0, new.version: 10_000}


async def test_a_report_that_is_not_there_is_not_found(inference, registry):
    await inference.create_endpoint(await registry.approved())
    with refused() as refusal:
        await report(inference)
    assert refusal.reason == "SHADOW_REPORT_NOT_FOUND"


async def test_a_plan_shows_the_defaults_of_a_shadow_phase(inference):
    planned = await inference.rollouts.PlanRollout(
        rollouts_pb.PlanRolloutRequest(phases=[KIND(kind=KIND.KIND_SHADOW), ALL]),
        timeout=TIMEOUT_S,
    )
    plan = planned.phases[0].shadow
    assert (plan.sample_basis_points, plan.min_requests) == (1_000, 1_000)
    assert planned.phases[1].kind == KIND.KIND_CANARY
