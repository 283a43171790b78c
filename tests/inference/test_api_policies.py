"""Decision policies with versions of their own, on a running service."""

from __future__ import annotations

import asyncio

import pytest
from roundhouse.inference.v1 import endpoint_pb2, policy_pb2
from roundhouse.inference.v1 import policy_service_pb2 as service_pb
from tritonclient.grpc import service_pb2 as oip

from tests.support.bundles import raw_floats
from tests.support.calls import refused
from tests.support.eventually import eventually
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    PROJECT,
    TIMEOUT_S,
    registry_with_models,
    request_id,
    running_inference,
)

POLICY = f"{PROJECT}/policies/delays"
OWN = f"{ENDPOINT}/decisionPolicies/1"


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


def eager(threshold: float = 0.01) -> policy_pb2.PolicyVersion:
    """Rebooks from `threshold` on."""
    version = policy_pb2.PolicyVersion(author="ada", purpose="the season begins")
    for label, action in ((0, "none"), (1, "rebook")):
        share = threshold if label else 1 - threshold
        version.thresholds.classes.add(label=label, threshold=share, action=action)
    return version


async def created(inference, version=None, **fields) -> policy_pb2.PolicyVersion:
    given = {"parent": POLICY, "request_id": request_id(), **fields}
    request = service_pb.CreatePolicyVersionRequest(
        policy_version=eager() if version is None else version, **given
    )
    return await inference.policies.CreatePolicyVersion(request, timeout=TIMEOUT_S)


async def pointed(inference, policy_version: str, **fields) -> endpoint_pb2.Endpoint:
    given = {"actor": "bob", "purpose": "trial", "request_id": request_id(), **fields}
    request = service_pb.PointEndpointRequest(name=ENDPOINT, policy_version=policy_version, **given)
    return await inference.policies.PointEndpoint(request, timeout=TIMEOUT_S)


async def decided(inference) -> tuple[str, int, str]:
    """Action, number and name of the policy that decided one flight."""
    request = oip.ModelInferRequest(model_name="delays")
    for name, datatype, raw in (
        ("distance", "FP32", raw_floats([100.0])),
        ("delay", "FP32", raw_floats([-20.0])),
        ("carrier", "BYTES", b"\2\0\0\0AA"),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=(1, 1))
        request.raw_input_contents.append(raw)
    answer = await inference.oip.ModelInfer(request, timeout=TIMEOUT_S)
    told = answer.parameters
    return (
        told["action"].string_param,
        told["policy_version"].int64_param,
        told["policy"].string_param,
    )


async def test_a_policy_is_tried_and_taken_back_without_loading_anything(inference, registry):
    own = endpoint_pb2.DecisionPolicy(positive_action="act", negative_action="wait")
    before = await inference.create_endpoint(await registry.approved(), decision_policy=own)
    assert await decided(inference) == ("wait", 1, OWN)

    version = await created(inference)
    assert version.name == f"{POLICY}/versions/1"
    after = await pointed(inference, version.name)
    assert after.policy_version == version.name
    assert [(each.version, each.digest) for each in after.variants] == [
        (each.version, each.digest) for each in before.variants
    ]
    assert await decided(inference) == ("rebook", 1, version.name)

    back = await pointed(inference, "", purpose="too many rebooked")
    assert back.policy_version == ""
    assert await decided(inference) == ("wait", 1, OWN)
    request = service_pb.ListPolicyMovesRequest(parent=ENDPOINT)
    moves = (await inference.policies.ListPolicyMoves(request, timeout=TIMEOUT_S)).policy_moves
    assert [(each.before, each.after, each.actor, each.purpose) for each in moves] == [
        (version.name, OWN, "bob", "too many rebooked"),
        (OWN, version.name, "bob", "trial"),
        ("", OWN, "", "the endpoint was created"),
    ]


async def test_an_endpoint_can_begin_with_a_policy_and_observations_name_it(
    inference, registry, monitor
):
    version = await created(inference)
    await inference.create_endpoint(await registry.approved(), policy_version=version.name)
    assert await decided(inference) == ("rebook", 1, version.name)
    async with asyncio.timeout(TIMEOUT_S):
        await eventually(lambda: bool(monitor.batches))
    (observed,) = monitor.batches.values()
    assert observed["policy"].to_pylist() == [version.name]


async def test_versions_are_numbered_listed_and_never_made_twice_by_one_request(inference):
    again = request_id()
    first = await created(inference, request_id=again)
    assert await created(inference, request_id=again) == first
    rehearsed = await created(inference, eager(0.2), validate_only=True)
    second = await created(inference, eager(0.3))
    assert rehearsed.name == second.name == f"{POLICY}/versions/2"
    other = await created(inference, parent=f"{PROJECT}/policies/crews")
    found = await inference.policies.GetPolicyVersion(
        service_pb.GetPolicyVersionRequest(name=second.name), timeout=TIMEOUT_S
    )
    assert found == second
    for parent, expected in ((POLICY, [second, first]), (f"{PROJECT}/policies/-", None)):
        page = await inference.policies.ListPolicyVersions(
            service_pb.ListPolicyVersionsRequest(parent=parent), timeout=TIMEOUT_S
        )
        assert list(page.policy_versions) == (expected or [other, second, first])


async def test_a_cost_matrix_comes_back_as_it_was_given(inference):
    given = policy_pb2.PolicyVersion(author="ada", purpose="what delays cost")
    given.costs.actions.add(name="none", costs=[0.0, 10.0], label=0)
    given.costs.actions.add(name="review", costs=[1.0, 1.5])
    given.costs.actions.add(name="rebook", costs=[4.0, 0.0], label=1)
    version = await created(inference, given)
    assert version.costs == given.costs


async def test_a_wrong_rule_is_refused_by_field(inference):
    wrong = eager()
    wrong.thresholds.classes[1].label = 2
    with refused() as refusal:
        await created(inference, wrong)
    assert refusal.reason == "INVALID_DECISION_POLICY"
    assert refusal.fields() == ["policy_version.thresholds.classes[1].label"]


async def test_only_what_exists_in_the_project_can_be_pointed_at(inference, registry):
    await inference.create_endpoint(await registry.approved())
    with refused() as refusal:
        await pointed(inference, f"{POLICY}/versions/9")
    assert refusal.reason == "POLICY_VERSION_NOT_FOUND"
    elsewhere = await created(inference, parent="projects/other/policies/delays")
    with refused() as refusal:
        await pointed(inference, elsewhere.name)
    assert refusal.fields() == ["policy_version"]
    mine = await created(inference)
    with refused() as refusal:
        await pointed(inference, mine.name, etag="stale-1")
    assert refusal.reason == "ETAG_MISMATCH"
    assert (await inference.endpoint()).policy_version == ""
