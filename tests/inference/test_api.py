"""Endpoints of the whole service on real ports, with a real registry and a monitor."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.inference.v1 import endpoint_pb2, endpoint_service_pb2
from tritonclient.grpc import service_pb2 as oip

from services.inference.settings import InferenceSettings
from services.inference.wiring import _native_methods
from tests.support.bundles import TinyModel, tiny_files
from tests.support.calls import refused
from tests.support.eventually import eventually
from tests.support.inference_api import (
    ENDPOINT,
    PROJECT,
    TIMEOUT_S,
    Registered,
    request_id,
    running_inference,
)

FLIGHT = (100.0, 5.0, "AA")


@pytest.mark.parametrize("server", ["native", "grpcio"])
async def test_either_server_answers_on_the_one_address(tmp_path, registry, monitor, server):
    async with running_inference(
        tmp_path / "inference", registry.address, monitor.address, server=server
    ) as inference:
        await inference.create_endpoint(await registry.approved())
        _, probability = await inference.predict(prediction_id="p")
        assert probability == pytest.approx(TinyModel().probability(*FLIGHT))
        with refused() as refusal:
            await inference.oip.ModelInfer(oip.ModelInferRequest(model_name="nobody"))
        assert refusal.reason == "ENDPOINT_NOT_FOUND"


@pytest.mark.parametrize(
    ("server", "listen", "native"),
    [
        ("auto", "127.0.0.1:1", True),
        ("auto", "0.0.0.0:1", False),
        ("native", "0.0.0.0:1", True),
        ("grpcio", "127.0.0.1:1", False),
    ],
)
def test_the_server_without_a_limit_is_the_default_on_loopback_only(server, listen, native):
    settings = InferenceSettings(server=server, listen=listen)
    assert bool(_native_methods(settings)) is native


async def test_an_endpoint_serves_when_its_creation_returns(inference, registry):
    registered = await registry.approved(bias=0.5)
    endpoint = await inference.create_endpoint(registered)
    version, probability = await inference.predict()
    assert version == registered.version
    assert probability == pytest.approx(TinyModel(0.5).probability(*FLIGHT))
    assert [(v.version, v.weight_basis_points, v.ready) for v in endpoint.variants] == [
        (registered.version, 10_000, True)
    ]
    assert await inference.endpoint() == endpoint


async def test_a_repeated_creation_gets_the_first_answer(inference, registry):
    registered = await registry.approved()
    request = endpoint_service_pb2.CreateEndpointRequest(
        parent=PROJECT,
        endpoint_id="delays",
        endpoint=endpoint_pb2.Endpoint(
            initial_version=registered.version, initial_approval=registered.approval
        ),
        request_id=request_id(),
    )
    first = await inference.endpoints.CreateEndpoint(request, timeout=TIMEOUT_S)
    assert await inference.endpoints.CreateEndpoint(request, timeout=TIMEOUT_S) == first
    request.request_id = request_id()
    with refused() as refusal:
        await inference.endpoints.CreateEndpoint(request, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ENDPOINT_EXISTS")


async def test_an_approval_of_another_version_is_refused(inference, registry):
    one, two = await registry.approved(), await registry.approved(1.0)
    with refused() as refusal:
        await inference.create_endpoint(Registered(two.version, one.approval))
    assert refusal.reason == "APPROVAL_INVALID"


async def test_a_version_that_nobody_approved_is_refused(inference, registry):
    one = await registry.approved()
    with refused() as refusal:
        await inference.create_endpoint(
            Registered(one.version, f"{one.version}/approvals/nobody-asked")
        )
    assert refusal.reason == "APPROVAL_INVALID"


async def test_an_unknown_version_is_refused(inference, registry):
    await registry.approved()
    version = f"{PROJECT}/models/delays/versions/99"
    with refused() as refusal:
        await inference.create_endpoint(Registered(version, f"{version}/approvals/a"))
    assert refusal.reason == "VERSION_NOT_SERVABLE"


async def test_a_runtime_that_is_not_configured_is_refused(inference, registry):
    with refused() as refusal:
        await inference.create_endpoint(
            await registry.approved(), runtime=endpoint_pb2.Endpoint.RUNTIME_TRITON
        )
    assert refusal.reason == "RUNTIME_NOT_CONFIGURED"


async def test_what_the_service_sets_may_not_be_given(inference, registry):
    with refused() as refusal:
        await inference.create_endpoint(await registry.approved(), uid="mine")
    assert refusal.fields() == ["endpoint.uid"]


async def test_a_model_that_cannot_be_loaded_makes_no_endpoint(inference, registry):
    broken = await registry.approved(files={**tiny_files(), "model.onnx": b"\x08\x0a"})
    with refused() as refusal:
        await inference.create_endpoint(broken)
    assert refusal.reason == "BUNDLE_NOT_SERVABLE"
    with refused() as refusal:
        await inference.endpoint()
    assert refusal.reason == "ENDPOINT_NOT_FOUND"


async def test_a_policy_that_changes_gets_the_next_version(inference, registry):
    await inference.create_endpoint(await registry.approved())
    policy = endpoint_pb2.DecisionPolicy(threshold=0.9, positive_action="rebook")
    request = endpoint_service_pb2.UpdateEndpointRequest(
        endpoint=endpoint_pb2.Endpoint(name=ENDPOINT, decision_policy=policy),
        update_mask=FieldMask(paths=["decision_policy"]),
        request_id=request_id(),
    )
    changed = await inference.endpoints.UpdateEndpoint(request, timeout=TIMEOUT_S)
    assert changed.decision_policy.version == 2
    assert changed.log_observations
    request.endpoint.etag = "stale-1"
    request.request_id = request_id()
    with refused() as refusal:
        await inference.endpoints.UpdateEndpoint(request, timeout=TIMEOUT_S)
    assert refusal.reason == "ETAG_MISMATCH"


async def test_an_update_of_what_cannot_change_is_refused(inference, registry):
    await inference.create_endpoint(await registry.approved())
    with refused() as refusal:
        await inference.endpoints.UpdateEndpoint(
            endpoint_service_pb2.UpdateEndpointRequest(
                endpoint=endpoint_pb2.Endpoint(name=ENDPOINT, alias="other"),
                update_mask=FieldMask(paths=["alias"]),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert refusal.fields() == ["update_mask"]


async def test_a_deleted_endpoint_answers_no_more(inference, registry):
    await inference.create_endpoint(await registry.approved())
    await inference.endpoints.DeleteEndpoint(
        endpoint_service_pb2.DeleteEndpointRequest(name=ENDPOINT, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    with refused() as refusal:
        await inference.predict()
    assert refusal.reason == "ENDPOINT_NOT_FOUND"


async def test_endpoints_are_listed(inference, registry):
    registered = await registry.approved()
    await inference.create_endpoint(registered)
    await inference.create_endpoint(registered, "second", labels={"team": "ops"})
    listed = await inference.endpoints.ListEndpoints(
        endpoint_service_pb2.ListEndpointsRequest(parent=PROJECT, filter="labels.team = ops"),
        timeout=TIMEOUT_S,
    )
    assert [endpoint.name for endpoint in listed.endpoints] == [f"{PROJECT}/endpoints/second"]


async def test_observations_reach_the_monitor(inference, registry, monitor):
    await inference.create_endpoint(await registry.approved())
    for i in range(5):
        await inference.predict(prediction_id=f"p{i}")
    await eventually(lambda: monitor.prediction_ids == [f"p{i}:0" for i in range(5)])


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="max_waiting_rows"):
        InferenceSettings(max_batch_rows=100, max_waiting_rows=10)


async def test_what_is_observed_is_data_that_is_checked_against_the_inputs(inference, registry):
    rules = endpoint_pb2.ObservationRules(
        sample_rate=0.25, redactions=[endpoint_pb2.Redaction(feature="carrier")]
    )
    created = await inference.create_endpoint(await registry.approved(), observation_rules=rules)
    assert created.observation_rules.sample_rate == 0.25
    assert [each.feature for each in created.observation_rules.redactions] == ["carrier"]

    async def update(*paths: str) -> endpoint_pb2.Endpoint:
        request = endpoint_service_pb2.UpdateEndpointRequest(
            endpoint=endpoint_pb2.Endpoint(name=ENDPOINT, observation_rules=rules),
            update_mask=FieldMask(paths=paths),
            request_id=request_id(),
        )
        return await inference.endpoints.UpdateEndpoint(request, timeout=TIMEOUT_S)

    rules.redactions[0].feature = "wind"
    with refused() as refusal:
        await update("observation_rules")
    assert refusal.reason == "INVALID_OBSERVATION_RULES"
    rules.redactions[0].feature = "carrier"
    rules.redactions[0].treatment = endpoint_pb2.Redaction.TREATMENT_DIGEST
    with refused() as refusal:
        await update("observation_rules")
    assert refusal.reason == "REDACTION_KEY_MISSING"
    del rules.redactions[:]
    assert (await update()).observation_rules == created.observation_rules, "only when it is named"
    assert not (await update("observation_rules")).observation_rules.redactions
