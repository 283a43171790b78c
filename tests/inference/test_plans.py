"""A rollout plan's digest, and approvals that are bound to one."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from roundhouse.inference.v1 import rollout_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb
from roundhouse.registry.v1 import model_pb2

from services.common.criteria import Criteria, PassRule
from services.inference.core.plans import AT_ONCE, plan_digest
from services.inference.core.rollouts import DEFAULT_PHASES, OnInconclusive, Phase
from tests.support.calls import refused
from tests.support.fake_monitor import Response
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    registry_with_models,
    request_id,
)

STATE = rollout_pb2.Rollout
AT_ONCE_PHASES = [rollout_pb2.Phase(weight_basis_points=10_000)]
CRITERIA = st.builds(
    Criteria,
    alpha=st.none() | st.sampled_from([0.01, 0.05]),
    min_requests=st.integers(0, 2),
    max_loss_rise=st.sampled_from([0.02, 0.1]),
    slow_after=st.none() | st.just(timedelta(seconds=0.1)),
    slices=st.sampled_from([(), ("carrier",), ("carrier", "origin")]),
    pass_rule=st.sampled_from(PassRule),
)
PHASES = st.lists(
    st.builds(
        Phase,
        st.integers(1, 10_000),
        st.integers(0, 100),
        st.integers(1, 10**6).map(lambda ms: timedelta(milliseconds=ms)),
        CRITERIA,
        st.sampled_from(OnInconclusive),
    ),
    max_size=4,
)


def test_the_digest_is_of_the_phases_canonical_json() -> None:
    phases = [
        {"max_duration_s": 86400.0, "min_outcomes": 0, "weight_basis_points": share}
        for share in (500, 5000, 10000)
    ]
    text = json.dumps({"phases": phases}, sort_keys=True, separators=(",", ":"))
    assert plan_digest(DEFAULT_PHASES) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@given(PHASES, PHASES)
def test_equal_plans_have_equal_digests_and_others_have_others(
    one: list[Phase], two: list[Phase]
) -> None:
    assert (plan_digest(one) == plan_digest(two)) == (one == two)


@pytest.fixture
async def registry(tmp_path):
    async with registry_with_models(tmp_path / "registry") as running:
        running.policy = model_pb2.PromotionPolicy(
            protected_aliases=["champion"], requires_plan=True
        )
        yield running


async def plan(inference, **fields) -> rollout_pb2.RolloutPlan:
    return await inference.rollouts.PlanRollout(
        rollouts_pb.PlanRolloutRequest(**fields), timeout=TIMEOUT_S
    )


async def test_a_plan_names_its_defaults_and_one_digest(inference) -> None:
    usual = await plan(inference)
    assert [phase.weight_basis_points for phase in usual.phases] == [500, 5000, 10000]
    assert await plan(inference, phases=usual.phases) == usual
    assert usual.digest == plan_digest(DEFAULT_PHASES)
    at_once = await plan(inference, at_once=True)
    assert (list(at_once.phases), at_once.digest) == ([], plan_digest(AT_ONCE))
    for fields in ({"at_once": True, "phases": usual.phases}, {"phases": usual.phases[:1]}):
        with refused() as refusal:
            await plan(inference, **fields)
        assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_PHASES")


async def test_a_version_is_rolled_out_by_the_plan_that_was_approved_and_no_other(
    inference, registry, monitor
) -> None:
    at_once = (await plan(inference, at_once=True)).digest
    agreed = (await plan(inference, phases=AT_ONCE_PHASES)).digest
    first = await registry.approved(plan_digest=at_once)
    await inference.create_endpoint(first)
    new = await registry.approved(1.0, plan_digest=agreed)
    with refused() as refusal:
        await inference.create_rollout(new)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "APPROVAL_INVALID")
    assert refusal.metadata["cause"] == "APPROVAL_PLAN_CHANGED"
    assert refusal.details["PreconditionFailure"].violations[0].type == "APPROVAL_PLAN_CHANGED"
    monitor.verdict = Response.VERDICT_PASS
    begun = await inference.create_rollout(new, phases=AT_ONCE_PHASES)
    assert begun.plan_digest == agreed
    await until_succeeded(inference, "r")
    assert await registry.alias() == new.version
    undone = await inference.rollouts.RollbackEndpoint(
        rollouts_pb.RollbackEndpointRequest(
            name=ENDPOINT, reason="worse after all", request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    assert undone.plan_digest == at_once
    await until_succeeded(inference, undone.name.rpartition("/")[2])
    assert await registry.alias() == first.version


async def test_an_endpoint_begins_only_with_a_version_approved_for_all_traffic_at_once(
    inference, registry
) -> None:
    gradual = await registry.approved(plan_digest=(await plan(inference)).digest)
    with refused() as refusal:
        await inference.create_endpoint(gradual)
    assert refusal.metadata["cause"] == "APPROVAL_PLAN_CHANGED"


async def until_succeeded(inference, rollout_id: str) -> None:
    watch = inference.rollouts.WatchRollout(
        rollouts_pb.WatchRolloutRequest(name=f"{ENDPOINT}/rollouts/{rollout_id}"),
        timeout=TIMEOUT_S,
    )
    seen = [rollout async for rollout in watch]
    assert seen[-1].state == STATE.STATE_SUCCEEDED, seen[-1].message
    assert not seen[-1].message or seen[-1].rollback_of, seen[-1].message
