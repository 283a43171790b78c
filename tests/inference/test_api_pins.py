"""What endpoints of a running service tell of their variants, and who may choose among them."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
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


async def updated(inference, path: str, **fields) -> endpoint_pb2.Endpoint:
    request = endpoint_service_pb2.UpdateEndpointRequest(
        endpoint=endpoint_pb2.Endpoint(name=ENDPOINT, **fields),
        update_mask=FieldMask(paths=[path]),
        request_id=request_id(),
    )
    return await inference.endpoints.UpdateEndpoint(request, timeout=TIMEOUT_S)


async def test_an_endpoint_that_forbids_pins_refuses_them_and_nothing_else(inference, registry):
    registered = await registry.approved()
    assert not (await inference.create_endpoint(registered)).forbid_pins
    assert (await inference.predict(version="1"))[0] == registered.version

    assert (await updated(inference, "forbid_pins", forbid_pins=True)).forbid_pins
    with refused() as refusal:
        await inference.predict(version="1")
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.reason == "VERSION_PINS_FORBIDDEN"
    assert refusal.metadata == {"endpoint": ENDPOINT, "version": "1"}
    assert (await inference.predict())[0] == registered.version

    kept = await updated(inference, "labels", labels={"team": "ops"})
    assert kept.forbid_pins, "other changes leave it as it is"
    assert not (await updated(inference, "forbid_pins")).forbid_pins
    assert (await inference.predict(version="1"))[0] == registered.version


async def test_an_endpoint_can_forbid_pins_from_its_first_request_on(inference, registry):
    created = await inference.create_endpoint(await registry.approved(), forbid_pins=True)
    assert created.forbid_pins
    with refused() as refusal:
        await inference.predict(version="1")
    assert refusal.reason == "VERSION_PINS_FORBIDDEN"


async def test_each_loaded_variant_tells_the_memory_that_it_took(inference, registry):
    created = await inference.create_endpoint(await registry.approved())
    (first,) = created.variants
    (now,) = (await inference.endpoint()).variants
    assert first.memory_bytes == now.memory_bytes > 0
