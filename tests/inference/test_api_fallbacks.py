"""Fallbacks of endpoints on a running service."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from roundhouse.inference.v1 import endpoint_pb2, endpoint_service_pb2

from tests.support.calls import refused
from tests.support.fake_monitor import fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    TIMEOUT_S,
    registry_with_models,
    request_id,
    running_inference,
)


@pytest.fixture
async def registry(tmp_path):
    async with registry_with_models(tmp_path / "registry") as running:
        yield running


@pytest.fixture
async def inference(tmp_path, registry):
    async with (
        fake_monitor() as monitor,
        running_inference(tmp_path / "inference", registry.address, monitor.address) as caller,
    ):
        yield caller


async def fallen_back(inference, fallback: endpoint_pb2.Fallback | None):
    request = endpoint_service_pb2.SetFallbackRequest(
        name=ENDPOINT, fallback=fallback, request_id=request_id()
    )
    return await inference.endpoints.SetFallback(request, timeout=TIMEOUT_S)


async def test_a_version_to_fall_back_to_is_approved_loaded_and_kept_beside(inference, registry):
    first, second = await registry.approved(), await registry.approved(0.5)
    await inference.create_endpoint(first)
    fallback = endpoint_pb2.Fallback(time_budget=Duration(nanos=200_000_000))
    fallback.version.version, fallback.version.approval = second.version, second.approval
    changed = await fallen_back(inference, fallback)
    assert changed.fallback.version.version == second.version
    assert changed.fallback.time_budget == fallback.time_budget
    assert [each.version for each in changed.variants] == [first.version]
    assert (await inference.predict())[0] == first.version

    gone = await fallen_back(inference, None)
    assert not gone.HasField("fallback")


async def test_only_an_approved_version_of_the_same_model_can_be_fallen_back_to(
    inference, registry
):
    first, second = await registry.approved(), await registry.approved(0.5)
    await inference.create_endpoint(first)
    fallback = endpoint_pb2.Fallback()
    fallback.version.version, fallback.version.approval = second.version, first.approval
    with refused() as refusal:
        await fallen_back(inference, fallback)
    assert refusal.reason == "APPROVAL_INVALID"
    fallback.version.version = "projects/default/models/other/versions/1"
    with refused() as refusal:
        await fallen_back(inference, fallback)
    assert refusal.reason == "INVALID_FALLBACK"
    assert refusal.fields() == ["fallback.version.version"]
    wrong = endpoint_pb2.Fallback()
    wrong.decision.label, wrong.decision.action = 7, "review"
    with refused() as refusal:
        await fallen_back(inference, wrong)
    assert refusal.fields() == ["fallback.decision.label"]
