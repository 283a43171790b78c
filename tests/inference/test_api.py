"""The whole service on real ports, with a real registry and a monitor that obeys."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from roundhouse.inference.v1 import endpoint_pb2, endpoint_service_pb2, rollout_pb2
from roundhouse.inference.v1 import rollout_service_pb2 as rollouts_pb
from roundhouse.registry.v1 import model_service_pb2, retention_service_pb2
from tritonclient.grpc import service_pb2 as oip

from services.inference.settings import InferenceSettings
from services.inference.wiring import _native_methods
from tests.support.bundles import TinyModel, tiny_files
from tests.support.eventually import eventually
from tests.support.fake_monitor import Response, fake_monitor
from tests.support.inference_api import (
    ENDPOINT,
    PROJECT,
    TIMEOUT_S,
    Registered,
    registry_with_models,
    request_id,
    running_inference,
)
from tests.support.registry_api import refused

State = rollout_pb2.Rollout
FLIGHT = (100.0, 5.0, "AA")
QUICK = [
    rollout_pb2.Phase(weight_basis_points=5000, min_outcomes=1),
    rollout_pb2.Phase(weight_basis_points=10_000),
]


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


async def state_of(inference, rollout_id: str, *wanted: int) -> rollout_pb2.Rollout:
    async with asyncio.timeout(TIMEOUT_S):
        while (rollout := await inference.rollout(rollout_id)).state not in wanted:
            await asyncio.sleep(0.05)
    return rollout


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


async def test_a_restarted_service_serves_and_goes_on_where_it_was(tmp_path, registry, monitor):
    old, new = await registry.approved(), await registry.approved(1.0)
    folder = tmp_path / "inference"
    async with running_inference(folder, registry.address, monitor.address) as inference:
        await inference.create_endpoint(old)
        await inference.create_rollout(new, phases=QUICK)
        await state_of(inference, "r", State.STATE_RUNNING)
    monitor.verdict = Response.VERDICT_PASS
    async with running_inference(folder, registry.address, monitor.address) as inference:
        assert (await inference.predict())[0] in (old.version, new.version)
        await state_of(inference, "r", State.STATE_SUCCEEDED)
        assert (await inference.predict())[0] == new.version


async def test_a_restart_needs_no_registry(tmp_path, registry, monitor):
    registered = await registry.approved()
    folder = tmp_path / "inference"
    async with running_inference(folder, registry.address, monitor.address) as inference:
        await inference.create_endpoint(registered)
    nowhere = "127.0.0.1:9"
    async with running_inference(folder, nowhere, nowhere) as inference:
        assert (await inference.predict())[0] == registered.version


async def test_two_replicas_on_one_database_serve_the_same_split(
    tmp_path, registry, monitor, postgres_url
):
    registered = await registry.approved()
    async with (
        running_inference(
            tmp_path / "a", registry.address, monitor.address, database_url=postgres_url
        ) as one,
        running_inference(
            tmp_path / "b", registry.address, monitor.address, database_url=postgres_url
        ) as two,
    ):
        await one.create_endpoint(registered)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    version, _ = await two.predict()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
        assert version == registered.version
        await two.create_rollout(await registry.approved(1.0), phases=QUICK)
        monitor.verdict = Response.VERDICT_PASS
        await state_of(one, "r", State.STATE_SUCCEEDED)


@pytest.mark.real
async def test_an_endpoint_on_triton_goes_through_a_canary(
    tmp_path, registry, monitor, triton_server
):
    old, new = await registry.approved(), await registry.approved(1.0)
    async with running_inference(
        tmp_path / "inference",
        registry.address,
        monitor.address,
        triton_address=triton_server.address,
    ) as inference:
        await inference.create_endpoint(old, runtime=endpoint_pb2.Endpoint.RUNTIME_TRITON)
        await inference.create_rollout(new, phases=QUICK)
        monitor.verdict = Response.VERDICT_PASS
        answers = 0
        async with asyncio.timeout(60):
            while (await inference.rollout()).state != State.STATE_SUCCEEDED:
                version, probability = await inference.predict(str(answers))
                bias = 1.0 if version == new.version else 0.0
                assert probability == pytest.approx(TinyModel(bias).probability(*FLIGHT))
                answers += 1
        assert answers
        assert (await inference.predict())[0] == new.version
        await inference.endpoints.DeleteEndpoint(
            endpoint_service_pb2.DeleteEndpointRequest(name=ENDPOINT, request_id=request_id()),
            timeout=TIMEOUT_S,
        )


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="max_waiting_rows"):
        InferenceSettings(max_batch_rows=100, max_waiting_rows=10)


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
