"""What the whole service does with versions that are damaged, quarantined or relied on."""

from __future__ import annotations

import asyncio

from roundhouse.inference.v1 import endpoint_service_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb
from roundhouse.registry.v1 import model_service_pb2, retention_service_pb2

from tests.support.calls import refused
from tests.support.inference_api import (
    ENDPOINT,
    PROJECT,
    QUICK,
    TIMEOUT_S,
    State,
    request_id,
    state_of,
)


async def damage_model(registry, tmp_path, version):
    """Flip a bit of the version's model in the registry's store."""
    found = await registry.caller.models.GetVersion(
        model_service_pb2.GetVersionRequest(name=version), timeout=TIMEOUT_S
    )
    (digest,) = [file.digest for file in found.files if file.path == "model.onnx"]
    (blob,) = (tmp_path / "registry" / "blobs").rglob(digest.removeprefix("sha256:"))
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)


async def test_a_version_damaged_in_the_store_is_not_rolled_out_and_the_old_one_serves(
    inference, registry, tmp_path
):
    old, new = await registry.approved(), await registry.approved(1.0)
    await inference.create_endpoint(old)
    await damage_model(registry, tmp_path, new.version)
    await inference.create_rollout(new)
    failed = await state_of(inference, "r", State.STATE_FAILED)
    assert "model.onnx" in failed.message
    assert "DIGEST_MISMATCH" in failed.message
    assert (await inference.predict())[0] == old.version


async def test_a_quarantined_version_is_refused_and_what_has_it_loaded_goes_on(
    inference, registry, tmp_path
):
    old = await registry.approved()
    await inference.create_endpoint(old)
    await damage_model(registry, tmp_path, old.version)
    answer = await registry.caller.models.VerifyVersion(
        model_service_pb2.VerifyVersionRequest(name=old.version, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert [fault.path for fault in answer.faults] == ["model.onnx"]
    with refused() as refusal:
        await inference.create_endpoint(old, "again", alias="")
    assert refusal.reason == "VERSION_NOT_SERVABLE"
    assert "QUARANTINED" in refusal.details["PreconditionFailure"].violations[0].description
    assert (await inference.predict())[0] == old.version


async def pins(registry):
    listed = await registry.caller.retention.ListPins(
        retention_service_pb2.ListPinsRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    return listed.pins


async def pinned(registry) -> set[str]:
    """Versions that pins keep."""
    return {pin.target for pin in await pins(registry)}


async def until_pinned(registry, *versions: str) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while await pinned(registry) != set(versions):
            await asyncio.sleep(0.05)


async def test_what_an_endpoint_holds_is_pinned_and_let_go_with_it(inference, registry):
    first, second = await registry.approved(0.0), await registry.approved(1.0)
    endpoint = await inference.create_endpoint(first)
    assert await pinned(registry) == {first.version}, "before the answer"
    await inference.create_rollout(second, phases=QUICK)
    assert await pinned(registry) == {first.version, second.version}
    # The service has seen for itself what it relies on once it has set each pin anew.
    async with asyncio.timeout(TIMEOUT_S):
        while any(pin.create_time == pin.update_time for pin in await pins(registry)):
            await asyncio.sleep(0.05)
    await inference.rollouts.CancelRollout(
        rollouts_pb.CancelRolloutRequest(
            name=f"{ENDPOINT}/rollouts/r", reason="test", request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )
    await until_pinned(registry, first.version)
    await inference.endpoints.DeleteEndpoint(
        endpoint_service_pb2.DeleteEndpointRequest(name=endpoint.name, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    await until_pinned(registry)
